"""CABLE: a distance in which every token counts for as much as its content says, in each head."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F

from pebench.formulas.accumulation import accumulate
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.position_encoding import AttentionInputs, Bias, Factored, Geometry, PositionEncoding, TableInputs


class CableEncoding(PositionEncoding):
    """q·k + S_i − S_j, with S_i = Σ_{t ≤ i} −softplus(w_h·x_t + b_h), x_t being the layer's normed input.

    As in the published code q·k is not divided by √d. Each layer has a Linear D → H of its own, w drawn from
    N(0, 0.02) and b = 0. w·x is a product like that of the queries, in their precision; all that follows is
    in float32 at least.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("factored",)
    cost = "one channel more a head, three in bfloat16; N·H sums in float64 and a Linear D → H a layer"
    claims = ("shift",)
    source = "Veisi & Mansourian 2025, https://arxiv.org/abs/2503.08067"
    version = 3

    def __init__(self, geometry: Geometry, bias: bool = True, scaled: bool = False) -> None:
        """
        Args:
            bias: whether there is b, which the paper's formula lacks.
            scaled: whether q·k is divided by √d, as attention is elsewhere.
        """
        super().__init__(geometry)
        self.scaled = scaled
        start = 0.0 if bias else None
        self.steps = each(geometry.layers, lambda: projection(geometry.width, geometry.heads, start))

    @classmethod
    def former_options(cls, version: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """Before version 3 there was no b, and q·k was divided by √d."""
        return ({"bias": False, "scaled": True} if version < 3 else {}) | dict(options)

    def scale(self) -> float:
        """One, or 1/√d."""
        return super().scale() if self.scaled else 1.0

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def bias(self, x: AttentionInputs) -> Bias:
        """−S_j; S_i is constant along a row, so that the softmax does not see it."""
        step = self.steps[x.layer]
        measured = measure_for_heads(x.hidden, step.weight, x.q)
        steps = -F.softplus(measured if step.bias is None else measured + step.bias)
        return Factored(key=-accumulate(steps.transpose(1, 2), x.state)[..., None])
