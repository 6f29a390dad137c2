"""Causal convolutions over content, which go on from call to call when decoding with a cache."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.position_encoding import AttentionInputs


def convolve(new: Tensor, weight: Tensor, x: AttentionInputs) -> Tensor:
    """Σ_{r < R} w_cr·new_{t − R + 1 + r, c}: each channel with its own filter, zeros before the first token.

    Args:
        new: (B, N, C) a quantity at the new tokens; that of padding counts as zero.
        weight: (C, R) the filters.
        x: of the layer; its state keeps the last R − 1 tokens for the next call.

    Returns:
        (B, N, C).
    """
    count, reach = new.shape[1], weight.shape[1] - 1
    if x.mask.key_mask is not None:
        new = new * x.mask.key_mask[:, -count:, None]
    before = x.state.get("convolved")
    if before is None:
        before = new.new_zeros(len(new), reach, new.shape[2])
    whole = torch.cat((before, new), dim=1)
    x.state["convolved"] = whole[:, whole.shape[1] - reach :]
    terms = [whole[:, r : r + count] * weight[:, r] for r in range(reach + 1)]
    return torch.stack(terms).sum(0)
