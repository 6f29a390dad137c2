"""PaTH-FoX: PaTH's products of matrices and the forget gate of FoX together."""

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pebench.encodings.path import PathEncoding
from pebench.formulas.accumulation import accumulate
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry

Positive = Annotated[int, Field(ge=1)]


class PathFoxEncoding(PathEncoding):
    """logit_ij = 1/√d·(q_iᵀ (H_i … H_{j+1}) k_j + G_i − G_j), G_i = Σ_{t ≤ i} ln σ(w_h·x_t + b_h), H as in
    `path`.

    The published code divides the gate by √d with the rest. FoX itself does not, nor does `gate_scale:
    plain`. Each layer has a Linear D → H for the gate, w drawn from N(0, 0.02) and b = 0.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "O(N·K·(D + 64·H)) for products and triangular systems, 64 tokens at a time; N·K numbers a head, in"
        " training N·K·(1 + d/64) more; N·H sums in float64"
    )
    claims = ("shift",)
    source = "Yang et al. 2025, https://arxiv.org/abs/2505.16381"

    def __init__(
        self,
        geometry: Geometry,
        rank: Positive | None = 32,
        convolution: Positive | None = 3,
        gate_scale: Literal["published", "plain"] = "published",
    ) -> None:
        """
        Args:
            rank: of the product W_up W_down; None for one full matrix.
            convolution: tokens that the convolution spans; None for none.
            gate_scale: whether the gate is divided by √d, as published, or added to the scaled logits.
        """
        super().__init__(geometry, rank, convolution)
        self.gate_scale = self.scale() if gate_scale == "published" else 1.0
        self.gates = each(geometry.layers, lambda: projection(geometry.width, geometry.heads, 0.0))

    def bias(self, x: AttentionInputs) -> Dense:
        """That of PaTH, and the gates passed since the key."""
        products, gate = super().bias(x), self.gates[x.layer]
        log_gates = F.logsigmoid(measure_for_heads(x.hidden, gate.weight, x.q) + gate.bias)
        sums = accumulate(log_gates.transpose(1, 2), x.state)
        own = sums[..., x.mask.first :]

        def values(block: Block) -> Tensor:
            passed = own[..., block.rows, None] - sums[..., None, block.keys]
            return products.values(block) + passed.float() * self.gate_scale

        return Dense(values)
