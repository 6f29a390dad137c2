"""PaPE: parabolas of the distance on the logits, as wide and as tilted as the query's content says."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.measurement import measure_for_heads
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry, PositionEncoding, TableInputs


class ParabolicEncoding(PositionEncoding):
    """logit + Σ_p [b_p·(u_p·Δ) − a_p·(u_p·Δ)²]/√d with Δ = position_i − position_j, a_p = softplus(w_p·x_i)
    and b_p = v_p·x_i read off the query's token x_i.

    u_p, w_p and v_p are learned, P of each in every head and layer. The sum is computed as c·Δ − ΔᵀMΔ with
    M = Σ_p a_p·u_p·u_pᵀ and c = Σ_p b_p·u_p: A² + A numbers a query in place of 2·P.
    """

    axes = (1, 2, 3)
    acts = "C"
    kernels = ("blocked",)
    cost = (
        "a Linear D → 2·H·P and H·P·A² multiplications for each token a layer; A² + A of them for each of "
        "N·K·H logits, 128 queries at a time"
    )
    claims = ("shift", "grid-row")
    source = "2026, https://arxiv.org/abs/2602.01418"

    def __init__(self, geometry: Geometry, parabolas: Annotated[int, Field(ge=1)] = 50) -> None:
        """
        Args:
            parabolas: P, in each head.
        """
        super().__init__(geometry)
        axes, layers, heads = geometry.axes, geometry.layers, geometry.heads
        self.directions = nn.Parameter((2 * torch.rand(axes, layers, heads, parabolas) - 1) * axes**-0.5)
        outputs = 2 * heads * parabolas
        self.measures = nn.ModuleList(nn.Linear(geometry.width, outputs, bias=False) for _ in range(layers))

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float32 positions."""
        return x.positions.float()

    def bias(self, x: AttentionInputs) -> Dense:
        """The parabolas of each query."""
        wide, tilted = self._coefficients(x)

        def values(block: Block) -> Tensor:
            # Exact wherever the positions are: i² − 2ij + j² as features would lose its digits far out.
            step = (x.q_table[:, block.rows, None] - x.k_table[:, None, block.keys]).to(wide.dtype)
            products = (step[..., None] * step[..., None, :]).flatten(-2)
            parabola = torch.einsum("bhqf,bqkf->bhqk", wide[:, :, block.rows], products)
            return torch.einsum("bhqa,bqka->bhqk", tilted[:, :, block.rows], step) - parabola

        return Dense(values)

    def _coefficients(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """M as (B, H, N, A²) and c as (B, H, N, A), both over √d."""
        weight = self.measures[x.layer].get_parameter("weight")
        measured = measure_for_heads(x.hidden, weight, x.q).unflatten(-1, (2, self.geometry.heads, -1))
        a, b = F.softplus(measured[:, :, 0]), measured[:, :, 1]
        u = self.directions[:, x.layer] * self.scale() ** 0.5
        wide = torch.einsum("bnhp,uhp,vhp->bhnuv", a, u, u).flatten(-2)
        return wide, torch.einsum("bnhp,uhp->bhnu", b, u) * self.scale() ** 0.5
