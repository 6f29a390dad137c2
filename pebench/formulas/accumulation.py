"""Sums along the sequence that go on from call to call when decoding with a cache."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulate(new: Tensor, carry: dict[str, Tensor]) -> Tensor:
    """The running sums of a quantity, at all positions seen so far.

    Args:
        new: (B, H, N) its values at the new positions.
        carry: of this layer, empty at the start of the sequence; keeps the sums for the next call.

    Returns:
        (B, H, K) float64, for K positions seen. In float32 a sum over ten thousand tokens has no digits left
        for the difference between neighbours, which is what attention looks at.
    """
    sums = new.double().cumsum(-1)
    if "sums" in carry:
        before = carry["sums"]
        sums = torch.cat((before, before[..., -1:] + sums), dim=-1)
    carry["sums"] = sums
    return sums
