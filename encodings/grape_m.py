"""GRAPE-M: rotary position embedding with learned frequencies, clockwise, by position or by content."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.accumulation import go_on
from pebench.formulas.axes import pairs_of
from pebench.formulas.projection import each, projection
from pebench.formulas.rotation import cosines_and_sines, rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding

GATE_SCALE = 16.0
"""Divides what content counts for."""


class GrapeMEncoding(PositionEncoding):
    """The pair (2c, 2c+1) of a head turns by −i·exp(λ_c/S), with λ learned, from S·ln(base^(−2c/d)).

    With `content` it turns by −Φ_i·exp(λ_c/S), Φ_i = Σ_{t < i} σ((w_h·x_t + b_h)/16) with w from 0 and b from
    ln(e^0.001 − 1), x_t being the layer's normed input. Each layer learns its own.
    """

    axes = (1,)
    acts = "R"
    head_width_only = True
    cost = (
        "O(N·D) time a layer, in each of which N·d/2 cosines and sines are made anew, N·D/2 of each with"
        " frequencies of each head or with content"
    )
    claims = ("shift",)
    source = "Zhang et al. 2025, https://arxiv.org/abs/2512.07805"

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        per_head: bool = False,
        log_scale: Annotated[float, Field(gt=0)] = 16.0,
        content: bool = False,
    ) -> None:
        """
        Args:
            base: of the geometric progression of initial frequencies.
            per_head: whether each head has frequencies of its own.
            log_scale: S; frequencies learn S times as slowly as λ.
            content: whether each token counts for as much as its content says, instead of for one.
        """
        super().__init__(geometry)
        self.log_scale, pairs, layers = log_scale, pairs_of(geometry.head_dim), geometry.layers
        start = -log_scale * math.log(base) * (torch.arange(pairs) / pairs)
        self.log_frequencies = nn.Parameter(start.repeat(layers, geometry.heads if per_head else 1, 1))
        bias = math.log(math.expm1(1e-3))
        self.gates = each(
            layers if content else 0, lambda: projection(geometry.width, geometry.heads, bias, std=0.0)
        )

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned clockwise by the angles of the layer."""
        frequencies = (self.log_frequencies[x.layer] / self.log_scale).exp()[:, None]
        cosine, sine = cosines_and_sines(self._place(x)[..., None] * frequencies)
        return rotate_pairs(x.q, cosine, -sine), rotate_pairs(x.k, cosine, -sine)

    def _place(self, x: AttentionInputs) -> Tensor:
        """(B|1, H|1, N) float64: the position, or what the tokens before it count for."""
        if not self.gates:
            place: Tensor = x.q_table[:, None, :, 0].double()
            return place
        gate = self.gates[x.layer]
        steps: Tensor = (gate(x.hidden.to(gate.weight.dtype)) / GATE_SCALE).sigmoid().transpose(1, 2)
        return go_on(steps, x.state) - steps
