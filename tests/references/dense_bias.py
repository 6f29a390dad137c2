"""The dense bias of an encoding, for random queries and keys."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.position_encoding import (
    AttentionInputs,
    Dense,
    Extrapolation,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)


def dense_bias(encoding: PositionEncoding, positions: Tensor | None = None) -> tuple[AttentionInputs, Dense]:
    """What the bias was made of, and the bias, for two texts of a layer with 16 channels a head.

    Args:
        encoding: of one axis.
        positions: (1, N, 1); by default the first twenty.
    """
    positions = grid((20,)) if positions is None else positions
    extrapolation = Extrapolation(encoding.geometry.extent, encoding.extrapolations[0])
    table = tabulate(encoding, positions, extrapolation)
    length, heads = positions.shape[1], encoding.geometry.heads
    q, k = torch.randn(2, 2, heads, length, 16)
    x = layer_inputs(encoding, q, k, torch.randn(2, length, 16 * heads), table)
    bias = encoding.bias(x)
    assert isinstance(bias, Dense)
    return x, bias
