"""Attention probabilities of published models that compose encodings, or give each layer one of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from references.golden_values import load
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.position_encoding import Dense, Extrapolation, Factored, Geometry, layer_inputs, tabulate
from pebench.specification.plugin_ref import PluginRef, split


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _unit(x: Tensor) -> Tensor:
    """Llama 4's norm of what was turned."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


Norm = Callable[[Tensor], Tensor]
"""Of queries and keys, as the model around an encoding has it."""


def _probabilities(
    encoding: Any, q: Tensor, k: Tensor, positions: Tensor, layer: int, norm: Norm = _as_it_is
) -> Tensor:
    """(B, H, N, N) of a layer of causal attention, in float64, with a norm behind the rotation."""
    served = Extrapolation((int(positions.max()) + 1,))
    table = tabulate(encoding, positions[None, :, None], served)
    hidden = torch.zeros(1, q.shape[2], encoding.geometry.width)
    x = layer_inputs(encoding, q, k, hidden, table, layer)
    turned = encoding.rotate(x)
    x = x._replace(q=norm(turned[0]), k=norm(turned[1]))
    logits = x.q.double() @ x.k.double().mT * encoding.scale()
    temperature, bias = encoding.temperature(x), encoding.bias(x)
    if temperature is not None:
        logits = logits * temperature.double()[..., None]
    assert not isinstance(bias, Dense)
    if isinstance(bias, Factored):
        logits = logits + bias.key.double().sum(-1)[..., None, :]
    every = slice(0, q.shape[2])
    found: Tensor = logits.masked_fill(~x.mask.visible(every, every), -math.inf).softmax(-1)
    return found


def _interleaved(x: Tensor) -> Tensor:
    """Channels (c, c + d/2), as NeoX pairs them, in the order (2c, 2c + 1) of GPT-J."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)


@pytest.mark.parametrize("beside", ["none", "rope", "alibi"])
@torch.no_grad()
def test_ssmax_alone_beside_rope_and_before_the_bias_of_alibi(beside: str) -> None:
    golden = load(f"ssmax_{beside}")
    encoding: Any = build_encoding("compose", {"parts": ["ssmax", beside]}, Geometry(64, 4, 1, (24,)))
    encoding.parts[0].s.copy_(torch.from_numpy(golden["s"])[None, :, None])
    q, k = (torch.from_numpy(golden[name]) for name in ("q", "k"))
    found = _probabilities(encoding, q, k, torch.arange(24), 0)
    torch.testing.assert_close(found, torch.from_numpy(golden["probabilities"]).double(), atol=1e-5, rtol=0)


HYBRIDS: dict[str, tuple[PluginRef, int]] = {
    "smollm3": ({"layers": [{"rope": {"base": 5e6}, "times": 3}, "none"]}, 4),
    "smollm3_window": ({"layers": ["rope", {"window": {"size": 6}}]}, 4),
    "gemma3": (
        {"layers": [{"compose": ["rope", {"window": {"size": 6}}], "times": 5}, {"rope": {"base": 1e6}}]},
        5,
    ),
    "llama4": (
        {
            "layers": [
                {"compose": [{"rope": {"base": 5e5}}, {"chunk": {"size": 10}}], "times": 3},
                {"temperature-tuning": {"floor": 4}},
            ]
        },
        4,
    ),
}
"""As a sweep writes them, with the number of layers to compare: Gemma 3's last one divides positions by 8."""


@pytest.mark.parametrize("model", HYBRIDS)
@torch.no_grad()
def test_layer_patterns_of_published_models(model: str) -> None:
    golden, (ref, count) = load(f"hybrid_{model}"), HYBRIDS[model]
    layers, interleaved = len(golden["q"]), "interleaved" in str(golden["config"])
    encoding = build_encoding(*split(ref, "encoding"), Geometry(16, 2, layers, (24,)))
    positions = torch.from_numpy(golden["positions"]).long()
    for layer in range(count):
        parts = []
        for name in ("q", "k"):
            x = torch.from_numpy(golden[name][layer : layer + 1])
            if f"{name}_norm" in golden:
                norm = torch.from_numpy(golden[f"{name}_norm"][layer])
                x = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + norm)
            parts.append(x if interleaved else _interleaved(x))
        behind = _unit if model == "llama4" and layer < 3 else _as_it_is
        found = _probabilities(encoding, parts[0], parts[1], positions, layer, behind)[0]
        wanted = torch.from_numpy(golden["probabilities"][layer]).double()
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def _factors(name: str, options: dict[str, Any], positions: Tensor, extent: int, trained: int) -> list[float]:
    """What a temperature does to the queries of one head of causal text."""
    encoding = build_encoding(name, options, Geometry(16, 1, 1, (trained,)))
    q = torch.zeros(1, 1, len(positions), 16)
    table = tabulate(encoding, positions[None, :, None], Extrapolation((extent,)))
    factor = encoding.temperature(layer_inputs(encoding, q, q, q[0], table))
    assert factor is not None
    found: list[float] = factor.expand(1, 1, len(positions)).flatten().tolist()
    return found


def test_ministrals_temperature_counts_positions() -> None:
    golden = load("temperature_ministral3")
    positions = torch.from_numpy(golden["positions"])
    found = _factors("temperature-tuning", {"count": "positions"}, positions, 2_000_000, 8192)
    assert found == pytest.approx(golden["scale"].tolist(), abs=1e-6)


def test_llama_4_takes_each_step_a_token_before_ministral() -> None:
    places = torch.arange(20)
    llama, ministral = (
        _factors("temperature-tuning", {"floor": 8, "count": count}, places, 20, 20)
        for count in ("keys", "positions")
    )
    assert llama[7] == pytest.approx(1 + 0.1 * math.log(2))
    assert ministral[7] == 1
    assert llama[:-1] == ministral[1:]


def test_llama_4_counts_keys_whatever_their_positions() -> None:
    far = _factors("temperature-tuning", {"floor": 4}, torch.arange(10) * 1000, 10_000, 64)
    assert far == _factors("temperature-tuning", {"floor": 4}, torch.arange(10), 10, 64)


def test_log_n_is_the_ratio_of_logarithms_beyond_the_trained_extent() -> None:
    wanted = [max(1.0, math.log(n) / math.log(8)) for n in range(1, 33)]
    assert _factors("log-n", {}, torch.arange(32), 32, 8) == pytest.approx(wanted)
    assert _factors("log-n", {"reference": 8}, torch.arange(32), 32, 32) == pytest.approx(wanted)


def test_log_n_by_extent_is_the_factor_of_drope() -> None:
    found = _factors("log-n", {"beta": 0.412, "count": "extent"}, torch.arange(5), 64, 8)
    assert found == pytest.approx([1 + 0.412 * math.log(8)] * 5)
    assert _factors("log-n", {"beta": 0.412, "count": "extent"}, torch.arange(5), 8, 8) == [1.0] * 5


def test_in_a_window_a_temperature_counts_the_keys_inside() -> None:
    encoding = build_encoding(
        "compose", {"parts": ["log-n", {"window": {"size": 6}}]}, Geometry(16, 1, 1, (4,))
    )
    q = torch.zeros(1, 1, 9, 16)
    table = tabulate(encoding, torch.arange(9)[None, :, None], Extrapolation((9,)))
    factor = encoding.temperature(layer_inputs(encoding, q, q, q[0], table))
    assert factor is not None
    seen = [1, 2, 3, 4, 5, 6, 6, 6, 6]
    assert factor.flatten().tolist() == pytest.approx([max(1, math.log(n) / math.log(4)) for n in seen])
