"""The kernels for logits that a network over the heads adjusts, in Triton's interpreter, and when they are
chosen.

On CUDA they are tested compiled, in `tests/on_cuda/test_adjusted_on_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from adjusted_comparison import SHORT, SLOPE, Setting, compare, draw
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
    grid,
    layer_inputs,
    tabulate,
)

pytestmark = QUIET


@pytest.fixture
def interpreted() -> Iterator[None]:
    by_head = {"products": (16, 8), "attended": (8, 16), "values": (16, 16)}
    with interpreting("adjusted", by_head | {"adjust": (8, 16), "back": (8, 16)}, side=16):
        yield


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("setting", SHORT, ids=str)
def test_agrees_with_the_plain_form_in_outputs_and_gradients(setting: Setting) -> None:
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("texts", [1, 2, 3])
def test_texts_are_gone_through_in_groups(texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebench.attention import adjusted

    setting = Setting(5, heads=2, units=4, texts=3)
    monkeypatch.setattr(adjusted, "GROUP_BYTES", texts * 4 * 2 * 5 * 5)
    sizes = [len(range(*group.indices(3))) for group in adjusted._groups(torch.empty(3, 2, 5, 16))]
    assert sizes == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[texts]
    compare(setting, "cpu")


@interpretable
@pytest.mark.usefixtures("interpreted")
def test_compilers_are_told_what_they_compute() -> None:
    """Shapes and strides without values, and the way back, by PyTorch's own examination."""
    from pebench.attention.adjusted import _attend

    leaves, _ = draw(Setting(2, heads=2, units=4), "cpu")
    torch.library.opcheck(_attend, (*leaves, 0.25, SLOPE))


@interpretable
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("encoding", ["dape", "rope + dape"])
def test_attention_by_them_is_that_of_blocks(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, and the gradients of all parameters of the encoding."""
    found = []
    for chosen in (True, False):
        monkeypatch.setattr(kernels, "_adjusted_is_faster", lambda *_, chosen=chosen: chosen)
        torch.manual_seed(0)
        own = build_encoding(*split(encoding, "encoding"), Geometry(64, 4, 1, (40,)))
        q, k, v = torch.randn(3, 1, 4, 9, 16)
        here = encoded_positions(own, tabulate(own, grid((9,)), Extrapolation((40,))))
        out = here.attend(q, k, v[..., :8], torch.randn(1, 9, 64), 0, True)  # values narrower than keys
        assert out.kernel == ("adjusted" if chosen else "blocked")
        out.values.square().sum().backward()
        found.append([out.values, *(parameter.grad for parameter in own.parameters())])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def _bias() -> tuple[AttentionInputs, Dense]:
    encoding = build_encoding("dape", {}, Geometry(64, 4, 1, (40,)))
    table = tabulate(encoding, grid((20,)), Extrapolation((40,)))
    q, k = torch.randn(2, 2, 4, 20, 16)
    x = layer_inputs(encoding, q, k, torch.randn(2, 20, 64), table)
    bias = encoding.bias(x)
    assert isinstance(bias, Dense)
    return x, bias


@torch.no_grad()
def test_the_network_by_distance_is_the_bias() -> None:
    x, bias = _bias()
    adjusting = bias.adjusting
    assert adjusting is not None
    hidden, prior = adjusting.tables()
    place, every = torch.arange(20), slice(0, 20)
    distance = place[:, None] - place + 19
    logits = x.q @ x.k.mT * adjusting.scale
    before = torch.einsum("uh,bhij->buij", adjusting.first, logits) + hidden[:, distance]
    units = torch.nn.functional.leaky_relu(before, adjusting.slope)
    found = torch.einsum("hu,buij->bhij", adjusting.last, units) + prior[:, distance]
    wanted = bias.values(Block(every, every, x.mask.visible(every, every)))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_positions_with_gaps_have_no_tables_by_distance() -> None:
    encoding = build_encoding("dape", {}, Geometry(64, 4, 1, (40,)))
    positions = torch.tensor([0, 1, 2, 5, 9])[None, :, None]
    table = tabulate(encoding, positions, Extrapolation((40,)))
    q, k = torch.randn(2, 2, 4, 5, 16)
    bias = encoding.bias(layer_inputs(encoding, q, k, torch.randn(2, 5, 64), table))
    assert isinstance(bias, Dense)
    assert bias.adjusting is None


CUDA = torch.device("cuda")
LONG = AttentionMask(4096, 4096, True, CUDA)


class _OnCUDA(torch.Tensor):
    """A tensor without numbers that says it is on CUDA."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA


def _there(
    channels: int = 64, heads: int = 4, length: int = 4096, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    return torch.empty(2, heads, length, channels, dtype=dtype, device="meta").as_subclass(_OnCUDA)


@pytest.mark.parametrize(
    ("mask", "q", "kernel"),
    [
        (LONG, _there(), "adjusted"),
        (LONG, _there(dtype=torch.float32), "adjusted"),
        (LONG._replace(causal=False), _there(), "blocked"),
        (LONG._replace(window=100), _there(), "blocked"),
        (LONG._replace(chunk=100), _there(), "blocked"),
        (LONG._replace(key_mask=torch.ones(2, 4096, dtype=torch.bool)), _there(), "blocked"),
        (LONG._replace(keys=4097), _there(), "blocked"),
        (LONG, _there(channels=256), "blocked"),
        (LONG, _there(channels=8), "blocked"),
        (LONG, _there(dtype=torch.float64), "blocked"),
        (LONG, _there(heads=128), "blocked"),  # whose logits are 8 GiB
        (LONG._replace(queries=64, keys=64), _there(length=64), "blocked"),
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


def test_a_network_of_many_heads_is_served_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    encoding = build_encoding("dape", {}, Geometry(33 * 16, 33, 1, (40,)))
    table = tabulate(encoding, grid((2,)), Extrapolation((40,)))
    q, k = torch.randn(2, 1, 33, 2, 16)
    bias = encoding.bias(layer_inputs(encoding, q, k, torch.randn(1, 2, 33 * 16), table))
    there = _there(heads=33, length=512)
    assert kernels.choose_kernel(bias, there, there, AttentionMask(512, 512, True, CUDA)) == "blocked"


def test_a_cpu_never_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, bias = _bias()
    assert "adjusted" in kernels.possible_kernels(bias)
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
    parts = ["dape"] if way == "softcap" else ["dape", way]
    encoding = build_encoding(*split(" + ".join(parts), "encoding"), Geometry(64, 4, 1, (40,)))
    table = tabulate(encoding, grid((20,)), Extrapolation((40,)))
    q, k, v = torch.randn(3, 2, 4, 20, 16)
    here = encoded_positions(encoding, table)
    cap = 5.0 if way == "softcap" else None
    here.attend(q, k, v, torch.randn(2, 20, 64), 0, True, softcap=cap)
    (bias,) = asked
    assert isinstance(bias, Dense)
    assert bias.adjusting is None
