"""Kernels for a bias that is looked up by counts beside the plain form in float64: outputs and gradients."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from references.kernel_comparison import compare_with_plain, draw_tokens
from torch import Tensor

TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 4e-2, torch.float16: 8e-3}
"""Of the largest number that there is, by the dtype of the queries. A count up to 64 in float32 is right to
five digits behind the point, and a lookup multiplies what it lacks by the difference of two products."""


class Setting(NamedTuple):
    """What is attended to, and how.

    Attributes:
        length: of the texts. numbers: that are looked up. channels: of a head.
        scaled: whether gates take q·k/√d.
        size: of the numbers that queries and keys are drawn with, which gates depend on.
        vectors: of those that the looked-up products are made of.
        dtype: of queries, keys and values.
    """

    length: int
    numbers: int = 8
    channels: int = 16
    scaled: bool = False
    size: float = 1.0
    vectors: float = 1.0
    dtype: torch.dtype = torch.float32


SHORT = [
    Setting(1),
    Setting(17, numbers=64),
    Setting(40, channels=24, scaled=True),
    Setting(50, numbers=2),
    Setting(64),
    Setting(70, numbers=64),
    Setting(40, vectors=0.0),
    Setting(40, size=0.0),
    Setting(40, channels=32, scaled=True, dtype=torch.float16),
]
"""For tiles of 32 queries; without bfloat16, whose products Triton's interpreter does not know."""

SETTINGS = [
    *SHORT,
    Setting(100, numbers=64),
    Setting(128, numbers=64, channels=32, scaled=True),
    Setting(257, numbers=2, channels=64),
    Setting(257, numbers=64, channels=64),
    Setting(200, numbers=64, channels=128),
    Setting(257, numbers=64, channels=64, dtype=torch.bfloat16),
    Setting(256, numbers=64, channels=64, scaled=True, dtype=torch.bfloat16),
    Setting(200, channels=128, scaled=True, dtype=torch.bfloat16),
    Setting(150, channels=48, scaled=True, dtype=torch.bfloat16),
    Setting(300, numbers=700, channels=64, scaled=True),
]


def compare(setting: Setting, device: str) -> None:
    """Holds the kernels against the N×N form."""
    from pebench.attention.counted import attend_counting

    draws = torch.Generator().manual_seed(setting.length)
    shape = (2, setting.length, 2, setting.channels)
    q, k, v, weights = draw_tokens(shape, setting.dtype, device, draws, setting.size)
    vectors = (setting.vectors * torch.randn(setting.numbers, setting.channels, generator=draws)).to(device)
    leaves = {"q": q, "k": k, "v": v, "vectors": vectors}
    for leaf in leaves.values():
        leaf.requires_grad_()
    scale = setting.channels**-0.5
    gate_scale = scale if setting.scaled else 1.0
    products = (q.transpose(1, 2).float() @ vectors.T).transpose(1, 2)
    out = attend_counting(q, k, v, products, scale=scale, gate_scale=gate_scale)
    plain = partial(_attended, scale=scale, gate_scale=gate_scale)
    compare_with_plain(out, weights, leaves, plain, TOLERANCE)


def _attended(q: Tensor, k: Tensor, v: Tensor, vectors: Tensor, scale: float, gate_scale: float) -> Tensor:
    length, last = q.shape[2], len(vectors) - 1
    seen = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    products = q @ k.mT
    gates = (products * gate_scale).sigmoid() * seen
    count = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=last)
    floor = count.detach().floor()
    numbers = q @ vectors.T
    below, above = (numbers.gather(-1, (floor + step).clamp(max=last).long()) for step in (0, 1))
    logits = products * scale + below + (above - below) * (count - floor)
    return logits.masked_fill(~seen, float("-inf")).softmax(-1) @ v
