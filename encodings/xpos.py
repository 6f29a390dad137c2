"""xPos: rotary position embedding scaled so that logits also decay with the distance."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.constants import Constant, constant
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

Table = tuple[Tensor, Tensor, Tensor]


class XposEncoding(PositionEncoding):
    """RoPE, with pair c of a query at i scaled by ζ_c^(i/512) and of a key at j by ζ_c^(−j/512).

    ζ_c = (2c/d + 0.4)/1.4, below one, so that a logit shrinks with the distance i − j, the faster the higher
    the frequency of its pair.
    """

    axes = (1,)
    acts = "R"
    shared_keys = True
    head_width_only = True
    causal_only = True
    cost = "O(N·D) time a layer; 1.5·N·d cosines, sines and scales, made once a forward pass"
    claims = ("shift",)
    source = "Sun et al. 2023, https://arxiv.org/abs/2212.10554"

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        scale_base: Constant = 512.0,
    ) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
            scale_base: positions over which pair c shrinks by ζ_c; as a number, or as a share of the trained
                extent (``25%``).
        """
        super().__init__(geometry)
        if geometry.head_dim % 2:
            raise ValueError(f"{geometry.head_dim} channels a head do not make up pairs")
        self.base = base
        self.scale_base = constant(scale_base, geometry.extent[0])

    def limit(self) -> int:
        """The extent up to which the factors of queries and keys stay well inside float32."""
        return max(1, int(128 * self.scale_base))

    def table(self, x: TableInputs) -> Table:
        """Cosines, sines and scales of queries, each (B|1, N, d/2) float32."""
        # In float64 first: a frequency is multiplied by positions of many thousands.
        channel = torch.arange(0, self.geometry.head_dim, 2, device=x.positions.device, dtype=torch.float64)
        share = channel / self.geometry.head_dim
        angles = x.positions.float() * (self.base**-share).float()
        # Logits depend on i − j alone; counted from the middle of the extent, the factors stay smallest.
        from_middle = x.positions - x.extent[0] // 2
        scale = ((share + 0.4) / 1.4) ** (from_middle / self.scale_base)
        return angles.cos(), angles.sin(), scale.float()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned, queries scaled by ζ^i and keys by ζ^−j."""
        cosine, sine, scale = (part[:, None] for part in x.q_table)
        q = rotate_pairs(x.q, cosine * scale, sine * scale)
        return q, rotate_pairs(x.k, cosine / scale, sine / scale)
