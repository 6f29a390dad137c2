"""When attention takes the kernels of our own: where they serve a bias, on CUDA, from so many tokens on."""

from __future__ import annotations

import pytest
import torch
from references.dense_bias import dense_bias

from pebench.attention import kernels
from pebench.attention.encoded_positions import encoded_positions
from pebench.attention_mask import AttentionMask
from pebench.encoding_config import build_encoding
from pebench.position_encoding import Bias, Dense, Extrapolation, Geometry, grid, tabulate
from pebench.specification.plugin_ref import split

CUDA = torch.device("cuda")
LONG = AttentionMask(4096, 4096, True, CUDA)


@pytest.fixture(autouse=True)
def _kernels_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)


class _OnCUDA(torch.Tensor):
    """A tensor without numbers that says it is on CUDA."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA


def _there(
    *,
    texts: int = 2,
    heads: int = 4,
    length: int = 4096,
    channels: int = 64,
    dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:
    return torch.empty(texts, heads, length, channels, dtype=dtype, device="meta").as_subclass(_OnCUDA)


def _bias(name: str, heads: int = 4) -> Dense:
    return dense_bias(build_encoding(name, {}, Geometry(16 * heads, heads, 1, (40,))))[1]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(("name", "kernel"), [("cope", "counted"), ("dape", "adjusted")])
@pytest.mark.parametrize(
    ("mask", "q", "served"),
    [
        (LONG, _there(), True),
        (LONG, _there(dtype=torch.float32), True),
        (LONG._replace(causal=False), _there(), False),
        (LONG._replace(window=100), _there(), False),
        (LONG._replace(chunk=100), _there(), False),
        (LONG._replace(key_mask=torch.ones(2, 4096, dtype=torch.bool)), _there(), False),
        (LONG._replace(keys=4097), _there(), False),
        (LONG, _there(channels=256), False),
        (LONG, _there(channels=8), False),
        (LONG, _there(dtype=torch.float64), False),
    ],
)
def test_they_are_chosen_for_whole_causal_texts(
    name: str, kernel: str, mask: AttentionMask, q: torch.Tensor, served: bool, grad: bool
) -> None:
    with torch.set_grad_enabled(grad):
        assert kernels.choose_kernel(_bias(name), q, q, mask) == (kernel if served else "blocked")


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("cope", _there(texts=1 << 9)),  # whose products are 2 GiB
        ("dape", _there(heads=128)),  # whose logits are 8 GiB
        ("dape", _there(length=64)),
    ],
)
def test_what_is_too_large_or_too_short_for_them_is_served_in_blocks(
    name: str, q: torch.Tensor, grad: bool
) -> None:
    mask = AttentionMask(q.shape[2], q.shape[2], True, CUDA)
    with torch.set_grad_enabled(grad):
        assert kernels.choose_kernel(_bias(name), q, q, mask) == "blocked"


def test_a_network_of_many_heads_is_served_in_blocks() -> None:
    there = _there(heads=33, length=512)
    mask = AttentionMask(512, 512, True, CUDA)
    assert kernels.choose_kernel(_bias("dape", heads=33), there, there, mask) == "blocked"


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("name", "kernel"),
    [("cope", "counted"), ("dape", "adjusted"), ("t5", "shared"), ("kerple", "shared"), ("fire", "shared")],
)
def test_a_cpu_never_takes_them(name: str, kernel: str, grad: bool) -> None:
    bias = _bias(name)
    assert kernel in kernels.possible_kernels(bias)
    there = torch.empty(2, 4, 4096, 16)
    mask = AttentionMask(4096, 4096, True, there.device)
    with torch.set_grad_enabled(grad):
        assert kernels.choose_kernel(bias, there, there, mask) == "blocked"


@pytest.mark.parametrize("way", ["softcap", "ssmax", "fox"])
@pytest.mark.parametrize("name", ["cope", "dape"])
@torch.no_grad()
def test_what_changes_the_logits_otherwise_is_served_in_blocks(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft cap, a temperature of the queries, and a further bias."""
    asked: list[Bias | None] = []
    choose = kernels.choose_kernel

    def listen(bias: Bias | None, *rest: object) -> str:
        asked.append(bias)
        return choose(bias, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kernels, "choose_kernel", listen)
    parts = [name] if way == "softcap" else [name, way]
    encoding = build_encoding(*split(" + ".join(parts), "encoding"), Geometry(64, 4, 1, (40,)))
    table = tabulate(encoding, grid((20,)), Extrapolation((40,)))
    q, k, v = torch.randn(3, 2, 4, 20, 16)
    here = encoded_positions(encoding, table)
    cap = 5.0 if way == "softcap" else None
    here.attend(q, k, v, torch.randn(2, 20, 64), 0, True, softcap=cap)
    (bias,) = asked
    assert isinstance(bias, Dense)
    assert bias.counting is None
    assert bias.adjusting is None
