"""Biases that depend on the distance between query and key alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pebench.position_encoding import Block, Dense


def by_distance(curve: Callable[[Tensor], Tensor], query: Tensor, key: Tensor) -> Dense:
    """A bias that is computed once for each distance and looked up for each pair of positions.

    Args:
        curve: from the distances i − j, (R,) integers of either sign, to their bias, (H, R) float32.
        query: (B|1, N, 1) integer positions i. key: (B|1, K, 1) integer positions j.
    """
    low, high = int(query.min() - key.max()), int(query.max() - key.min())
    curves = curve(torch.arange(low, high + 1, device=query.device))

    def values(block: Block) -> Tensor:
        place = query[:, block.rows] - key[:, block.keys].transpose(1, 2) - low
        # Several times as fast as indexing with the matrix, above all in the backward pass.
        return curves.index_select(1, place.flatten()).view(-1, *place.shape).transpose(0, 1)

    return Dense(values)
