"""The kernels for a bias that is looked up by counts, in Triton's interpreter.

On CUDA they are tested compiled, in `tests/on_cuda/test_counted_on_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from references.counted_comparison import SHORT, Setting, compare
from references.dense_bias import dense_bias
from references.triton_interpreter import QUIET, interpretable, interpreting

from pebench.attention import kernels
from pebench.encoding_config import build_encoding
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry

pytestmark = QUIET


@pytest.fixture
def interpreted() -> Iterator[None]:
    with interpreting("counted", {"forward": (32, 32), "queries": (16, 16), "keys": (32, 16)}, side=32):
        yield


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("setting", SHORT, ids=str)
def test_agrees_with_the_plain_form_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
def test_compilers_are_told_what_they_compute() -> None:
    """Shapes and strides without values, and the way back, by PyTorch's own examination."""
    from pebench.attention.counted import _attend

    q, k, v = (torch.randn(1, 20, 2, 16).transpose(1, 2).requires_grad_() for _ in range(3))
    products = torch.randn(1, 20, 2, 8).transpose(1, 2).requires_grad_()
    torch.library.opcheck(_attend, (q, k, v, products, 0.25, 1.0))


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("scaled", [False, True])
def test_attention_by_them_is_that_of_blocks(scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chosen in (True, False):
        monkeypatch.setattr(kernels, "_counted_is_faster", lambda *_, chosen=chosen: chosen)
        torch.manual_seed(0)
        x, bias = _bias(scaled)
        v = torch.randn(2, 4, 20, 8)  # narrower than keys, which may be widened
        with torch.no_grad():
            out = kernels.attend(x.q, x.k, v, bias, mask=x.mask, scale=0.25)
        assert out.kernel == ("counted" if chosen else "blocked")
        found.append(out.values)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def _bias(scaled: bool = False) -> tuple[AttentionInputs, Dense]:
    encoding = build_encoding("cope", {"p_max": 6, "scaled_gates": scaled}, Geometry(64, 4, 1, (40,)))
    torch.nn.init.normal_(encoding.vectors)  # type: ignore[arg-type]
    return dense_bias(encoding)


@torch.no_grad()
def test_the_lookup_is_the_bias() -> None:
    x, bias = _bias()
    counting = bias.counting
    assert counting is not None
    products, every = counting.products(), slice(0, 20)
    assert products.shape == (2, 4, 20, counting.numbers)
    visible = x.mask.visible(every, every)
    count = ((x.q @ x.k.mT * counting.gate_scale).sigmoid() * visible).flip(-1).cumsum(-1).flip(-1)
    lower = count.clamp(max=counting.numbers - 1).long()
    upper = (lower + 1).clamp(max=counting.numbers - 1)
    ends = torch.stack([products.gather(-1, lower), products.gather(-1, upper)])
    values = bias.values(Block(every, every, visible))
    between = (ends.min(0).values - 1e-5 <= values) & (values <= ends.max(0).values + 1e-5)
    assert bool((between | ~visible).all())
