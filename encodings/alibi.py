"""ALiBi: a penalty on the logits in proportion to the distance, steeper in some heads."""

import math

import torch
from torch import Tensor

from pebench.formulas.distance import separation
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Factored,
    Geometry,
    PositionEncoding,
    TableInputs,
)


def slopes(heads: int) -> Tensor:
    """(H,) float32: m_h = 2^(−8h/H), h = 1…H; where H is no power of two, the slopes of the power below, then
    every second slope of the power above."""
    power = 2 ** math.floor(math.log2(heads))
    found = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    found += [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)][: heads - power]
    return torch.tensor(found)


class AlibiEncoding(PositionEncoding):
    """logit − m_h·(i − j), added after the scaling by 1/√d and never scaled itself.

    In bidirectional attention and on several axes: logit − m_h·‖i − j‖₂.
    """

    axes = (1, 2, 3)
    acts = "B"
    kernels = ("factored", "blocked", "flex")
    cost = (
        "causal text: one channel more a head, three in bfloat16. Else one distance for each of N·K pairs"
        " and H numbers made of it, 128 queries at a time; with flex in the kernel"
    )
    claims = ("shift", "reversal", "grid-row")
    source = "Press et al. 2022, https://arxiv.org/abs/2108.12409; 2-D: Fuller et al. 2023, https://arxiv.org/abs/2311.00566"
    slopes: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.register_buffer("slopes", slopes(geometry.heads), persistent=False)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float32 positions."""
        return x.positions.float()

    def bias(self, x: AttentionInputs) -> Bias:
        """In causal text −m·(i − j) is m·j up to what is constant along a row, so no matrix is needed."""
        if self.geometry.causal and self.geometry.axes == 1:
            return Factored(key=self.slopes[:, None, None] * x.k_table[:, None])

        def values(block: Block) -> Tensor:
            # By way of products, cdist's default, neighbours far from the origin lose all their digits.
            exact = "donot_use_mm_for_euclid_dist"
            distance = torch.cdist(x.q_table[:, block.rows], x.k_table[:, block.keys], compute_mode=exact)
            return -self.slopes[:, None, None] * distance[:, None]

        def score(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return -self.slopes[head] * separation(x.q_table, x.k_table, batch, query, key)

        return Dense(values, score)
