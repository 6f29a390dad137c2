"""Rotation-invariant PaPE: a parabola of the distance on the logits, as wide as the query's content says."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.formulas.measurement import measure_for_heads
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry, PositionEncoding, TableInputs


class RotationInvariantParabolicEncoding(PositionEncoding):
    """logit − a_h·s_h²·‖position_i − position_j‖²/√d, with a_h = softplus(w_h·x_i) read off the query's token
    x_i.

    w_h is learned in every layer. s_h is drawn from U(−1/√A, 1/√A) for each head and layer, and stays.
    """

    axes = (1, 2, 3)
    acts = "C"
    kernels = ("blocked",)
    cost = (
        "a Linear D → H a layer; a squared distance for each of N·K pairs and a multiplication for each of "
        "N·K·H logits, 128 queries at a time"
    )
    claims = ("shift", "reversal")
    source = "2026, https://arxiv.org/abs/2602.01418"
    scales: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        drawn = (2 * torch.rand(geometry.layers, geometry.heads) - 1) * geometry.axes**-0.5
        self.register_buffer("scales", drawn)
        self.measures = nn.ModuleList(
            nn.Linear(geometry.width, geometry.heads, bias=False) for _ in range(geometry.layers)
        )

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float32 positions."""
        return x.positions.float()

    def bias(self, x: AttentionInputs) -> Dense:
        """The parabola of each query."""
        weight = self.measures[x.layer].get_parameter("weight")
        a = F.softplus(measure_for_heads(x.hidden, weight, x.q)) * self.scales[x.layer].square()
        steepness = a.transpose(1, 2) * self.scale()

        def values(block: Block) -> Tensor:
            step = x.q_table[:, block.rows, None] - x.k_table[:, None, block.keys]
            bias: Tensor = -steepness[:, :, block.rows, None] * step.square().sum(-1)[:, None]
            return bias

        return Dense(values)
