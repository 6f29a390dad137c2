"""Rotary position embedding in 2-D: half of the channel pairs turn with the column, half with the row."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class AxialRotaryEncoding(PositionEncoding):
    """The first half of a head's pairs turns by x·θ_c with the column x, the second half by y·θ_c with the
    row y.

    θ_c = base^(−4c/d), c = 0…d/4−1: each axis has the frequencies of a head of half the width.
    """

    axes = (2,)
    acts = "R"
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Heo et al. 2024, https://arxiv.org/abs/2403.13298"

    def __init__(self, geometry: Geometry, base: Annotated[float, Field(gt=1)] = 100.0) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
        """
        super().__init__(geometry)
        if geometry.head_dim % 4:
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into pairs for two axes")
        self.base = base

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32."""
        width = self.geometry.head_dim
        exponents = torch.arange(0, width, 4, device=x.positions.device, dtype=torch.float32) / width
        column_and_row = x.positions.float().flip(-1)
        angles = column_and_row[..., None] * self.base**-exponents
        return angles.cos().flatten(-2), angles.sin().flatten(-2)

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        cosine, sine = (part[:, None] for part in x.q_table)
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)
