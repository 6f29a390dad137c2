"""Kernels for logits that a network over the heads adjusts beside the plain form in float64: outputs and
gradients."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from references.kernel_comparison import compare_with_plain, draw_tokens
from torch import Tensor

TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 4e-2, torch.float16: 8e-3}
"""Of the largest number that there is, by the dtype of the queries."""

SLOPE = 0.01


class Setting(NamedTuple):
    """What is attended to, and how.

    Attributes:
        length: of the texts. heads: that the network reads. units: of the network.
        channels: of a head. texts: that there are.
        size: of the numbers that queries and keys are drawn with.
        dtype: of queries, keys and values.
    """

    length: int
    heads: int = 4
    units: int = 32
    channels: int = 16
    texts: int = 2
    size: float = 1.0
    dtype: torch.dtype = torch.float32


SHORT = [
    Setting(1),
    Setting(10, heads=12, texts=1),
    Setting(25, heads=3, units=8, texts=1, channels=24),
    Setting(10, heads=1),
    Setting(16, heads=8, texts=1, size=2.0),
    Setting(9, heads=20, texts=1),
    Setting(5, heads=16, texts=1, size=0.0),
    Setting(12, texts=1, channels=32, dtype=torch.float16),
]
"""For tiles of 16 keys; without bfloat16, whose products Triton's interpreter does not know."""

SETTINGS = [
    *SHORT,
    Setting(100, heads=12, channels=64),
    Setting(128, heads=16, channels=32),
    Setting(257, heads=8, channels=64, size=2.0),
    Setting(200, heads=12, channels=128),
    Setting(130, heads=32, units=16),
    Setting(257, heads=12, channels=64, dtype=torch.bfloat16),
    Setting(256, heads=8, channels=64, size=2.0, dtype=torch.bfloat16),
    Setting(200, channels=128, dtype=torch.bfloat16),
    Setting(150, heads=20, channels=48, dtype=torch.bfloat16),
]


class Case(NamedTuple):
    """Drawn leaves, and what the output is weighted with.

    Attributes:
        leaves: q, k, v and the four tensors of `Weights`.
    """

    leaves: list[Tensor]
    weights: Tensor


def draw(setting: Setting, device: str) -> Case:
    draws = torch.Generator().manual_seed(setting.length)
    length, heads, units = setting.length, setting.heads, setting.units
    shape = (setting.texts, length, heads, setting.channels)
    q, k, v, weights = draw_tokens(shape, setting.dtype, device, draws, setting.size)
    shapes = ((units, heads), (heads, units), (units, 2 * length - 1), (heads, 2 * length - 1))
    factors = (heads**-0.5, units**-0.5, 0.5, 1.0)
    network = (
        (factor * torch.randn(shape, generator=draws)).to(device)
        for factor, shape in zip(factors, shapes, strict=True)
    )
    return Case([x.requires_grad_() for x in (q, k, v, *network)], weights)


def compare(setting: Setting, device: str) -> None:
    """Holds the kernels against the N×N form."""
    from pebench.attention.adjusted import Weights, attend_adjusting

    (q, k, v, *network), weights = draw(setting, device)
    scale = setting.channels**-0.5
    out = attend_adjusting(q, k, v, Weights(*network), scale=scale, slope=SLOPE)
    leaves = {"q": q, "k": k, "v": v} | Weights(*network)._asdict()
    compare_with_plain(out, weights, leaves, partial(_attended, scale), TOLERANCE)


def _attended(scale: float, q: Tensor, k: Tensor, v: Tensor, *network: Tensor) -> Tensor:
    first, last, hidden, prior = network
    length = q.shape[2]
    place = torch.arange(length, device=q.device)
    distance = place[:, None] - place[None, :] + length - 1
    logits = q @ k.mT * scale
    before = torch.einsum("uh,bhij->buij", first, logits) + hidden[:, distance]
    added = torch.einsum("hu,buij->bhij", last, F.leaky_relu(before, SLOPE)) + prior[:, distance]
    return (logits + added).masked_fill(distance < length - 1, float("-inf")).softmax(-1) @ v
