"""Forgetting Transformer: each token lets what came before it fade, by a share read off its content."""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F

from pebench.formulas.accumulation import accumulate
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.position_encoding import AttentionInputs, Bias, Factored, Geometry, PositionEncoding, TableInputs


class FoxEncoding(PositionEncoding):
    """logit + c_i − c_j, with c_i = Σ_{t ≤ i} log σ(w_h·x_t + b_h): a key counts times the gates passed
    since.

    x_t is the layer's normed input. Each layer has a Linear D → H of its own, w drawn from N(0, 0.02) and b =
    0, so that gates start half open. w·x is a product like that of the queries, in their precision; all that
    follows is in float32 at least.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("factored",)
    cost = "one channel more a head, three in bfloat16; N·H sums in float64 and a Linear D → H a layer"
    claims = ("shift",)
    source = "Lin et al. 2025, https://arxiv.org/abs/2503.02130"
    version = 3

    def __init__(self, geometry: Geometry, gate_bias: float = 0.0) -> None:
        """
        Args:
            gate_bias: b at the start; with 5 gates start open.
        """
        super().__init__(geometry)
        self.gates = each(geometry.layers, lambda: projection(geometry.width, geometry.heads, gate_bias))

    @classmethod
    def former_options(cls, version: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """Before version 3 b started at 5."""
        return ({"gate_bias": 5.0} if version < 3 else {}) | dict(options)

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def bias(self, x: AttentionInputs) -> Bias:
        """−c_j; c_i is constant along a row, so that the softmax does not see it."""
        gate = self.gates[x.layer]
        log_gates = F.logsigmoid(measure_for_heads(x.hidden, gate.weight, x.q) + gate.bias)
        return Factored(key=-accumulate(log_gates.transpose(1, 2), x.state)[..., None])
