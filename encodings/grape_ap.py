"""GRAPE-AP: a key fades by each token passed since, the more the less that token agrees with the query."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pebench.encodings.alibi import slopes
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)


class GrapeApEncoding(PositionEncoding):
    """logit + Σ_{j < l ≤ i} m_h·ln σ(p_iᵀ R(l) p̂_l/d_p), p = W_p x, m being ALiBi's slopes.

    x is the layer's normed input, p̂ = p/√(mean p² + ε), and R(l) turns every pair (2c, 2c+1) by −l radians.
    That is the published code, in which an edge depends on the position l itself. The paper writes R_{i−l}:
    with `rotation: relative` it is R(l − i), and only distances count.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "O(N·K·H·d_p) for the edges and N·K·H logarithms and sums, 128 queries at a time; a Linear D → H·d_p"
        " a layer"
    )
    source = "Zhang et al. 2025, https://arxiv.org/abs/2512.07805"
    slopes: Tensor

    def __init__(
        self,
        geometry: Geometry,
        width: Annotated[int, Field(ge=2, multiple_of=2)] = 8,
        tied: Literal["none", "query", "key"] = "none",
        rotation: Literal["published", "relative"] = "published",
    ) -> None:
        """
        Args:
            width: d_p, channels of p a head.
            tied: to have the queries or the keys themselves for p, without parameters.
            rotation: by the position of the token passed, or by its distance from the query.
        """
        super().__init__(geometry)
        self.tied, self.rotation = tied, rotation
        self.register_buffer("slopes", slopes(geometry.heads), persistent=False)
        count, std = geometry.heads * width, 0.5 * geometry.width**-0.5
        layers = geometry.layers if tied == "none" else 0
        self.maps = each(layers, lambda: projection(geometry.width, count, std=std))

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the positions as angles, each (B|1, N, 1) float32."""
        angles = x.positions.double()
        return angles.cos().float(), angles.sin().float()

    def bias(self, x: AttentionInputs) -> Bias:
        """The edges, summed from the query outwards."""
        p = self._read(x)
        passed = p * (p.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).rsqrt()
        cosine, sine = (part[:, None] for part in x.q_table)
        passed = rotate_pairs(passed, cosine, -sine)
        if self.rotation == "relative":
            p = rotate_pairs(p, cosine, -sine)
        if "passed" in x.state:
            passed = torch.cat((x.state["passed"], passed), dim=2)
        x.state["passed"] = passed

        def values(block: Block) -> Tensor:
            agreement = p[:, :, block.rows] @ passed[:, :, block.keys].mT / p.shape[-1]
            edges = F.logsigmoid(agreement) * self.slopes[:, None, None]
            edges = edges.masked_fill(~block.visible, 0)
            return edges.flip(-1).cumsum(-1).flip(-1) - edges

        return Dense(values)

    def _read(self, x: AttentionInputs) -> Tensor:
        """(B, H, N, d_p) p of the new tokens, in float32."""
        if self.tied == "none":
            read = measure_for_heads(x.hidden, self.maps[x.layer].weight, x.q)
            by_head: Tensor = read.unflatten(-1, (self.geometry.heads, -1)).transpose(1, 2)
            return by_head
        return (x.q if self.tied == "query" else x.k[:, :, -x.q.shape[2] :]).float()
