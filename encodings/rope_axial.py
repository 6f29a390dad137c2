"""Axial rotary position embedding: each axis of a grid turns channel pairs of its own."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.axes import shares
from pebench.formulas.rotation import rotate_by_table
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class AxialRotaryEncoding(PositionEncoding):
    """The first half of a head's pairs turns by x·θ_c with the column x, the second half by y·θ_c with the
    row y; on three axes a third each turns with column, row and frame.

    θ_c = base^(−2c/w), c = 0…w/2−1: each axis has the frequencies of a head of its share of w channels. Pairs
    are the interleaved (2c, 2c+1); what is left over on three axes goes to rows and columns.
    """

    axes = (2, 3)
    acts = "R"
    shared_keys = True
    head_width_only = True
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Heo et al. 2024, https://arxiv.org/abs/2403.13298"

    def __init__(self, geometry: Geometry, base: Annotated[float, Field(gt=1)] = 100.0) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
        """
        super().__init__(geometry)
        if geometry.axes == 2 and geometry.head_dim % 4:
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into pairs for two axes")
        self.base = base
        self.shares = shares(geometry.head_dim // 2, geometry.axes)

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32."""
        places = zip(x.positions.float().unbind(-1), self.shares, strict=True)
        angles = [place[..., None] * self._frequencies(pairs, place) for place, pairs in places]
        column_first = torch.cat(angles[::-1], dim=-1)
        return column_first.cos(), column_first.sin()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        return rotate_by_table(x)

    def _frequencies(self, pairs: int, like: Tensor) -> Tensor:
        return self.base ** -(torch.arange(pairs, device=like.device, dtype=like.dtype) / pairs)
