"""Any bias of the logits by its values."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.position_encoding import Bias, Block, Dense


def dense(bias: Bias) -> Dense:
    """A bias by its values, in float64 where they come from features that may be large sums."""
    if isinstance(bias, Dense):
        return bias
    key, query = bias.key, bias.query

    def values(block: Block) -> Tensor:
        keys = key[:, :, block.keys].double()
        if query is None:
            return keys.sum(-1)[:, :, None]
        return query[:, :, block.rows].double() @ keys.transpose(-1, -2)

    return Dense(values)


NOTHING = Dense(
    lambda block: torch.zeros(1, 1, 1, 1, device=block.visible.device),
    lambda batch, head, query, key: torch.zeros_like(query, dtype=torch.float32),
)
"""The bias that is zero."""
