"""Attention probabilities of published models that compose encodings, or give each layer one of its own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from golden_values import load
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.plugin_ref import PluginRef, split
from pebench.position_encoding import Dense, Extrapolation, Factored, Geometry, layer_inputs, tabulate


def _probabilities(encoding: Any, q: Tensor, k: Tensor, positions: Tensor, layer: int) -> Tensor:
    """(B, H, N, N) of a layer of causal attention, in float64."""
    served = Extrapolation((int(positions.max()) + 1,))
    table = tabulate(encoding, positions[None, :, None], served)
    hidden = torch.zeros(1, q.shape[2], encoding.geometry.width)
    x = layer_inputs(encoding, q, k, hidden, table, layer)
    turned = encoding.rotate(x)
    x = x._replace(q=turned[0], k=turned[1])
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
}
"""As a sweep writes them, with the number of layers to compare: Gemma 3's last one divides positions by 8."""


@pytest.mark.parametrize("model", HYBRIDS)
@torch.no_grad()
def test_layer_patterns_of_published_models(model: str) -> None:
    golden, (ref, count) = load(f"hybrid_{model}"), HYBRIDS[model]
    layers = len(golden["q"])
    encoding = build_encoding(*split(ref, "encoding"), Geometry(16, 2, layers, (24,)))
    positions = torch.from_numpy(golden["positions"]).long()
    for layer in range(count):
        parts = []
        for name in ("q", "k"):
            x = torch.from_numpy(golden[name][layer : layer + 1])
            if f"{name}_norm" in golden:
                norm = torch.from_numpy(golden[f"{name}_norm"][layer])
                x = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + norm)
            parts.append(_interleaved(x))
        found = _probabilities(encoding, parts[0], parts[1], positions, layer)[0]
        wanted = torch.from_numpy(golden["probabilities"][layer]).double()
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
