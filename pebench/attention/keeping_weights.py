"""Causal attention on a CPU that keeps its weights for the backward pass, a block of queries at a time.

PyTorch's fused kernel computes the weights again, and wants values as wide as queries: with a bias in further
channels it multiplies zeros. Here nothing above the diagonal is computed but within a block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 128
"""Queries in a block."""

MOST = 1 << 27
"""Bytes of weights that are kept for a call."""


def is_faster(q: Tensor, k: Tensor) -> bool:
    """Whether to take it for (B, H, N, d) queries on as many keys."""
    weights = q.shape[:3].numel() * q.shape[2] // 2 * q.element_size()
    return (
        q.device.type == "cpu"
        and q.shape[2] == k.shape[2]
        and q.dtype in (torch.float32, torch.float64)
        and torch.is_grad_enabled()
        and weights <= MOST
        and not torch.compiler.is_compiling()
    )


def attend_keeping_weights(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """(B, H, N, dv) causal attention of (B, H, N, d) queries over as many keys, with (B, H, N, dv) values."""
    parts = (part.flatten(0, 1) for part in (q * scale, k, v))
    out: Tensor = _Attention.apply(*parts)  # type: ignore[no-untyped-call]
    split: Tensor = out.unflatten(0, q.shape[:2])
    return split


class _Attention(torch.autograd.Function):
    """Of (texts and heads, N, channels)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, kept = torch.empty_like(v), []
        later = torch.ones(ROWS, ROWS, dtype=torch.bool).triu(1)
        for rows, keys in _blocks(q.shape[1]):
            count = rows.stop - rows.start
            weights = torch.bmm(q[:, rows], k[:, keys].mT)
            weights[..., rows].masked_fill_(later[:count, :count], float("-inf"))
            torch.softmax(weights, -1, out=weights)
            out[:, rows] = torch.bmm(weights, v[:, keys])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, out, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out, *kept = ctx.saved_tensors
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        means = (gradient * out).sum(-1, keepdim=True)
        for (rows, keys), weights in zip(_blocks(q.shape[1]), kept, strict=True):
            above = gradient[:, rows]
            of_v[:, keys].baddbmm_(weights.mT, above)
            logits = torch.baddbmm(means[:, rows], above, v[:, keys].mT, beta=-1).mul_(weights)
            of_q[:, rows] = torch.bmm(logits, k[:, keys])
            of_k[:, keys].baddbmm_(logits.mT, q[:, rows])
        return of_q, of_k, of_v


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """The rows of each block of queries, and the keys that its last row sees."""
    stops = [min(start + ROWS, length) for start in range(0, length, ROWS)]
    return [
        (slice(start, stop), slice(0, stop))
        for start, stop in zip(range(0, length, ROWS), stops, strict=True)
    ]
