"""Sums along the sequence that go on from call to call when decoding with a cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 64
"""Positions whose sums one product of matrices yields."""


def accumulate(new: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The running sums of a quantity, at all positions seen so far.

    Args:
        new: (B, …, N) its values at the new positions.
        state: of this layer, empty at the start of the sequence; keeps the sums for the next call.

    Returns:
        (B, …, K) float64, for K positions seen. In float32 a sum over ten thousand tokens has no digits left
        for the difference between neighbours, which is what attention looks at.
    """
    sums = _running(new)
    if "sums" in state:
        before = state["sums"]
        sums = torch.cat((before, before[..., -1:] + sums), dim=-1)
    state["sums"] = sums
    return sums


def go_on(new: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The running sums of a quantity, at the new positions alone.

    Args:
        new: (B, …, N) its values at the new positions.
        state: of this layer, empty at the start of the sequence; keeps the last sum for the next call.

    Returns:
        (B, …, N) float64.
    """
    sums = _running(new)
    if "last" in state:
        sums = state["last"] + sums
    state["last"] = sums[..., -1:]
    return sums


def _running(new: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return _sums_by_products(new)
    return new.to(torch.float64, memory_format=torch.contiguous_format).cumsum(-1)


def _sums_by_products(new: Tensor) -> Tensor:
    # What compilers make of a running sum is no match for products of matrices, and that of PyTorch 2.11 for
    # CUDA fails at some of the sums that it fuses with what comes before them. They differ where a number is
    # not finite: nothing that stands before it in its block is, either.
    length = new.shape[-1]
    blocks = F.pad(new.double(), (0, -length % BLOCK)).unflatten(-1, (-1, BLOCK))
    sums = blocks @ torch.ones(BLOCK, BLOCK, dtype=torch.float64, device=new.device).triu()
    if length > BLOCK:
        before = _sums_by_products(sums[..., :-1, -1])
        sums = sums + F.pad(before, (1, 0))[..., None]
    joined: Tensor = sums.flatten(-2)[..., :length]
    return joined
