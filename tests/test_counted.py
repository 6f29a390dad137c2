"""The kernels for a bias that is looked up by counts, in Triton's interpreter, and when they are chosen.

On CUDA they are tested compiled, in `tests/on_cuda/test_counted_on_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from counted_comparison import SHORT, Setting, compare
from triton_interpreter import QUIET, interpretable, interpreting

from pebench.attention import kernels
from pebench.attention.encoded_positions import encoded_positions
from pebench.attention_mask import AttentionMask
from pebench.encoding_config import build_encoding
from pebench.plugin_ref import split
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Extrapolation,
    Geometry,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)

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


def _cope(scaled: bool = False) -> PositionEncoding:
    encoding = build_encoding("cope", {"p_max": 6, "scaled_gates": scaled}, Geometry(64, 4, 1, (40,)))
    torch.nn.init.normal_(encoding.vectors)  # type: ignore[arg-type]
    return encoding


def _bias(scaled: bool = False) -> tuple[AttentionInputs, Dense]:
    encoding = _cope(scaled)
    table = tabulate(encoding, grid((20,)), Extrapolation((40,)))
    q, k = torch.randn(2, 2, 4, 20, 16)
    x = layer_inputs(encoding, q, k, torch.randn(2, 20, 64), table)
    bias = encoding.bias(x)
    assert isinstance(bias, Dense)
    return x, bias


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


CUDA = torch.device("cuda")
LONG = AttentionMask(4096, 4096, True, CUDA)


class _OnCUDA(torch.Tensor):
    """A tensor without numbers that says it is on CUDA."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA


def _there(channels: int = 64, texts: int = 2, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(texts, 4, 4096, channels, dtype=dtype, device="meta").as_subclass(_OnCUDA)


@pytest.mark.parametrize(
    ("mask", "q", "kernel"),
    [
        (LONG, _there(), "counted"),
        (LONG, _there(dtype=torch.float32), "counted"),
        (LONG._replace(window=100), _there(), "blocked"),
        (LONG._replace(chunk=100), _there(), "blocked"),
        (LONG._replace(key_mask=torch.ones(2, 4096, dtype=torch.bool)), _there(), "blocked"),
        (LONG._replace(keys=4097), _there(), "blocked"),
        (LONG, _there(channels=256), "blocked"),
        (LONG, _there(channels=8), "blocked"),
        (LONG, _there(dtype=torch.float64), "blocked"),
        (LONG, _there(texts=1 << 12), "blocked"),
    ],
)
def test_they_are_chosen_where_they_serve(
    mask: AttentionMask, q: torch.Tensor, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    _, bias = _bias()
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert kernels.choose_kernel(bias, q, q, mask) == kernel


def test_a_cpu_never_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, bias = _bias()
    assert "counted" in kernels.possible_kernels(bias)
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    there = torch.empty(2, 4, 4096, 16)
    mask = AttentionMask(4096, 4096, True, there.device)
    assert kernels.choose_kernel(bias, there, there, mask) == "blocked"


@pytest.mark.parametrize("way", ["softcap", "ssmax", "fox"])
@torch.no_grad()
def test_what_changes_the_logits_otherwise_is_served_in_blocks(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft cap, a temperature of the queries, and a further bias."""
    asked: list[Bias | None] = []
    choose = kernels.choose_kernel

    def listen(bias: Bias | None, *rest: object) -> str:
        asked.append(bias)
        return choose(bias, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kernels, "choose_kernel", listen)
    parts = ["cope"] if way == "softcap" else ["cope", way]
    encoding = build_encoding(*split(" + ".join(parts), "encoding"), Geometry(64, 4, 1, (40,)))
    table = tabulate(encoding, grid((20,)), Extrapolation((40,)))
    q, k, v = torch.randn(3, 2, 4, 20, 16)
    here = encoded_positions(encoding, table)
    cap = 5.0 if way == "softcap" else None
    here.attend(q, k, v, torch.randn(2, 20, 64), 0, True, softcap=cap)
    (bias,) = asked
    assert isinstance(bias, Dense)
    assert bias.counting is None
