"""The kernels for a bias that all texts share, in Triton's interpreter.

On CUDA they are tested compiled, in `tests/on_cuda/test_shared_bias_on_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from references.dense_bias import dense_bias
from references.shared_bias_comparison import SHORT, Setting, compare
from references.triton_interpreter import QUIET, interpretable, interpreting

from pebench.attention import kernels
from pebench.encoding_config import build_encoding
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry, grid

pytestmark = QUIET


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    sizes = {"forward": (32, 16), "keys": (16, 32), "queries": (32, 16), "bias": (32, 16)}
    with interpreting("shared", sizes, side=32):
        from pebench.attention import shared

        monkeypatch.setattr(shared, "TEXTS", 3)
        yield


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("setting", SHORT, ids=str)
def test_agrees_with_blocks_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
def test_compilers_are_told_what_they_compute() -> None:
    """Shapes and strides without values, and the way back, by PyTorch's own examination."""
    from pebench.attention.shared import _attend

    q, k, v = (torch.randn(1, 20, 2, 16).transpose(1, 2).requires_grad_() for _ in range(3))
    bias = torch.randn(2, 39, requires_grad=True)
    torch.library.opcheck(_attend, (q, k, v, bias, None, True, 0.3, 0))


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["t5", "fire"])
def test_attention_by_them_is_that_of_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chosen in (True, False):
        monkeypatch.setattr(kernels, "_shared_is_faster", lambda *_, chosen=chosen: chosen)
        torch.manual_seed(0)
        x, bias = _bias(name)
        v = torch.randn(x.q.shape[0], x.q.shape[1], 20, 8)  # narrower than keys, which may be widened
        out = kernels.attend(x.q, x.k, v, bias, mask=x.mask, scale=0.25)
        assert out.kernel == ("shared" if chosen else "blocked")
        found.append(out.values)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def _bias(name: str, consecutive: bool = True) -> tuple[AttentionInputs, Dense]:
    encoding = build_encoding(name, {}, Geometry(64, 4, 1, (40,)))
    return dense_bias(encoding, grid((20,)) if consecutive else grid((40,))[:, ::2])


@pytest.mark.parametrize("name", ["t5", "kerple"])
@torch.no_grad()
def test_the_row_by_distance_is_the_bias(name: str) -> None:
    x, bias = _bias(name)
    assert bias.by_distance is not None
    every = slice(0, 20)
    values = bias.values(Block(every, every, x.mask.visible(every, every)))
    place = torch.arange(20)
    assert torch.equal(bias.by_distance[:, place[:, None] - place + 19], values[0])


def test_positions_with_gaps_have_no_row_by_distance() -> None:
    _, bias = _bias("t5", consecutive=False)
    assert bias.shared
    assert bias.by_distance is None
