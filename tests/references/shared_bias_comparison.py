"""Kernels for a bias that all texts share beside blocks of queries in float64: outputs and all gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from references.kernel_comparison import compare_with_plain, draw_tokens
from torch import Tensor

from pebench.attention import kernels
from pebench.attention_mask import AttentionMask
from pebench.position_encoding import Dense

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""Of the largest number that there is, by the dtype of the queries."""


class Setting(NamedTuple):
    """What is attended to, and how.

    Attributes:
        length: of the texts. channels: of a head. causal, window, padded: what hides keys.
        by_distance: whether the bias is a curve, or the matrix of each head.
        dtype: of queries, keys and values.
        texts: that share the bias.
    """

    length: int
    channels: int = 16
    causal: bool = True
    window: int | None = None
    padded: bool = False
    by_distance: bool = True
    dtype: torch.dtype = torch.float32
    texts: int = 2


SHORT = [
    Setting(1),
    Setting(50),
    Setting(64, causal=False, by_distance=False),
    Setting(50, channels=24, by_distance=False),
    Setting(60, window=20),
    Setting(50, padded=True),
    Setting(60, padded=True, window=15, causal=False),
    Setting(40, channels=32, dtype=torch.float16),
    Setting(20, texts=5),
]
"""For tiles of 32; without bfloat16, whose products Triton's interpreter does not know."""

SETTINGS = [
    *SHORT,
    Setting(100),
    Setting(128),
    Setting(200, channels=32),
    Setting(200, causal=False),
    Setting(256, causal=False, by_distance=False),
    Setting(150, channels=24, by_distance=False),
    Setting(200, window=40),
    Setting(150, window=70, causal=False),
    Setting(150, padded=True),
    Setting(200, padded=True, window=30, causal=False, by_distance=False),
    Setting(150, channels=48),
    Setting(200, channels=64, dtype=torch.bfloat16),
    Setting(140, channels=128, dtype=torch.bfloat16, causal=False),
    Setting(128, channels=64, dtype=torch.float16, by_distance=False),
    Setting(70, texts=19),
]


def compare(setting: Setting, device: str) -> None:
    """Holds the kernels against the plain path."""
    from pebench.attention.shared import attend_sharing_bias

    length, heads = setting.length, 2
    draws = torch.Generator().manual_seed(length)
    shape = (setting.texts, length, heads, setting.channels)
    q, k, v, weights = draw_tokens(shape, setting.dtype, device, draws)
    form = (heads, 2 * length - 1) if setting.by_distance else (heads, length, length)
    bias = (2 * torch.randn(form, generator=draws)).to(device)
    leaves = {"q": q, "k": k, "v": v, "bias": bias}
    for leaf in leaves.values():
        leaf.requires_grad_()
    key_mask = None
    if setting.padded:
        starts = torch.tensor([[0], [length // 3]], device=device)
        key_mask = torch.arange(length, device=device).expand(2, -1) >= starts
    out = attend_sharing_bias(
        *(q, k, v, bias), causal=setting.causal, scale=0.3, window=setting.window, key_mask=key_mask
    )
    mask = AttentionMask(length, length, setting.causal, q.device, key_mask, setting.window)

    def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        dense = Dense(lambda block: _matrix(bias, length)[:, :, block.rows, block.keys])
        return kernels._blocked(q, k, v, mask, dense, 0.3)

    compare_with_plain(out, weights, leaves, plain, TOLERANCE)


def _matrix(bias: Tensor, length: int) -> Tensor:
    """(1, H, N, N) numbers of either form."""
    if bias.ndim == 3:
        return bias[None]
    place = torch.arange(length, device=bias.device)
    return bias[:, place[:, None] - place + length - 1][None]
