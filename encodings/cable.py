"""CABLE: a distance in which every token counts for as much as its content says, in each head."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import nn

from pebench.formulas.accumulation import accumulate
from pebench.formulas.measurement import measure_for_heads
from pebench.position_encoding import AttentionInputs, Bias, Factored, Geometry, PositionEncoding, TableInputs


class CableEncoding(PositionEncoding):
    """logit + S_i − S_j, with S_i = Σ_{t ≤ i} −softplus(w_h·x_t), x_t being the layer's normed input.

    Each layer has a Linear D → H of its own without a bias, as the definition writes it, w drawn from N(0,
    0.02). w·x is a product like that of the queries, in their precision; all that follows is in float32 at
    least.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("factored",)
    cost = "one channel more a head, three in bfloat16; N·H sums in float64 and a Linear D → H a layer"
    claims = ("shift",)
    source = "Veisi & Mansourian 2025, https://arxiv.org/abs/2503.08067"
    version = 2

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        steps = nn.ModuleList()
        for _ in range(geometry.layers):
            step = nn.Linear(geometry.width, geometry.heads, bias=False)
            nn.init.normal_(step.weight, std=0.02)
            steps.append(step)
        self.steps = cast("Sequence[nn.Linear]", steps)

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def bias(self, x: AttentionInputs) -> Bias:
        """−S_j; S_i is constant along a row, so that the softmax does not see it."""
        steps = -F.softplus(measure_for_heads(x.hidden, self.steps[x.layer].weight, x.q))
        return Factored(key=-accumulate(steps.transpose(1, 2), x.state)[..., None])
