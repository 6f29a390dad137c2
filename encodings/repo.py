"""RePo: tokens are not placed by their order, but each head reads a place off the content of the token."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.axes import pairs_of
from pebench.formulas.projection import each, projection
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

PUBLISHED_WIDTH = 2048
"""D of the published model."""


class Reader(nn.Module):
    """z = [SiLU(W_g x) ⊙ W_c x]·W_h: D to D/8 channels to one number a head.

    Drawn from N(0, 0.02) where D is the published 2,048, and otherwise so that z is as large. At width 64
    that deviation would give z a two-hundredth of its size.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        middle = max(1, geometry.width // 8)
        std = 0.02 * (PUBLISHED_WIDTH / geometry.width) ** 0.5
        self.gate = projection(geometry.width, middle, std=std)
        self.content = projection(geometry.width, middle, std=std)
        self.heads = projection(middle, geometry.heads, std=std)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, N, D) to (B, N, H)."""
        places: Tensor = self.heads(F.silu(self.gate(hidden)) * self.content(hidden))
        return places


class RepoEncoding(PositionEncoding):
    """The pair (2c, 2c+1) of a query and of a key turns by z_h(x_t)·θ_c, θ_c = base^(−2c/d).

    z is a real number of either sign without bounds, read off the layer's normed input x_t. It is no function
    of the order, which causality alone imposes. Layers below `start` are RoPE.
    """

    axes = (1,)
    acts = "R"
    head_width_only = True
    causal_only = True
    orderless = True
    cost = "D²/4 + H·D/8 multiplications a token and N·D/2 cosines and sines, in each layer from `start` on"
    claims = ("shift",)
    source = "Li et al. 2025, https://arxiv.org/abs/2512.14391"
    frequencies: Tensor

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        start: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
            start: first layer that reads places off the content; by default a third of the layers is below.
        """
        super().__init__(geometry)
        pairs = pairs_of(geometry.head_dim)
        self.start = geometry.layers // 3 if start is None else start
        if self.start >= geometry.layers:
            raise ValueError(f"start {start} leaves none of {geometry.layers} layers, the first being 0")
        frequencies = base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.readers = each(geometry.layers - self.start, lambda: Reader(geometry))

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines of RoPE, each (B|1, N, d/2) float32."""
        angles = x.positions.float() * self.frequencies
        return angles.cos(), angles.sin()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned by the place of their token."""
        cosine, sine = (part[:, None] for part in x.q_table)
        if x.layer >= self.start:
            # A place is multiplied by frequencies: never in half precision.
            hidden = x.hidden.to(self.frequencies.dtype)
            places = self.readers[x.layer - self.start](hidden).transpose(1, 2)
            angles = places[..., None] * self.frequencies
            cosine, sine = angles.cos(), angles.sin()
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)
