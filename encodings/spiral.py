"""Spiral RoPE: channel pairs turn with the position along many directions, not along the axes alone."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import cosines_and_sines, rotate_by_table
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class SpiralEncoding(PositionEncoding):
    """From the centre of the grid, at row y and column x, pair m of the first half of a head turns by
    ω_m·(cos α·y + sin α·x), pair m of the second half by ω_m·(cos α·x − sin α·y), m = 0…d/4−1.

    Two neighbouring pairs share α = 90°·t/K, t = ⌊m/2⌋ mod K; pairs are the interleaved (2c, 2c+1).
    Coordinates are counted in cells of the trained grid, whatever the grid that is served. ω is geometric,
    ω_max·base^(−2i/w), i = 0…w/2−1: with `same` w = d/2/K, and each two neighbouring ones serve K directions;
    else w = d/2.
    """

    axes = (2,)
    acts = "R"
    head_width_only = True
    extrapolations = ("interpolate",)
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    source = "2026, https://arxiv.org/abs/2602.03227"

    def __init__(
        self,
        geometry: Geometry,
        directions: Annotated[int, Field(ge=1)] = 2,
        same: bool = True,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        max_frequency: Annotated[float, Field(gt=0)] = 1.0,
        clamp: bool = False,
    ) -> None:
        """
        Args:
            directions: K, in a quarter of a circle.
            same: whether all directions have the same frequencies.
            base: of the geometric progression of frequencies.
            max_frequency: ω_max, radians a cell.
            clamp: whether what is turned stays between the borders of the grid, as in the published code.
        """
        super().__init__(geometry)
        self.pairs, together = geometry.head_dim // 4, 2 * (directions if same else 1)
        if geometry.head_dim % 4 or self.pairs % together:
            raise ValueError(
                f"{geometry.head_dim} channels a head do not divide into two halves, each of a multiple of "
                f"{together} pairs"
            )
        self.directions, self.same, self.clamp = directions, same, clamp
        self.base, self.max_frequency = base, max_frequency

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32."""
        scales = [trained / size for trained, size in zip(self.geometry.extent, x.extent, strict=True)]
        middles = [(size - 1) / 2 * scale for size, scale in zip(x.extent, scales, strict=True)]
        axes = zip(x.positions.double().unbind(-1), scales, middles, strict=True)
        row, column = ((along * scale - middle)[..., None] for along, scale, middle in axes)
        angle, frequency = self._waves(x.device)
        fields = (
            angle.cos() * row + angle.sin() * column + middles[0],
            angle.cos() * column - angle.sin() * row + middles[1],
        )
        if self.clamp:
            fields = (fields[0].clamp(0, 2 * middles[0]), fields[1].clamp(0, 2 * middles[1]))
        return cosines_and_sines(torch.cat([field * frequency for field in fields], dim=-1))

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        return rotate_by_table(x)

    def _waves(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The (d/4,) angles α, and frequencies."""
        pair = torch.arange(self.pairs, dtype=torch.float64, device=device)
        angle = (pair / 2).floor() % self.directions * (math.pi / 2 / self.directions)
        # With the same frequencies for all: 0 and 1 for each direction, then 2 and 3.
        repeats = self.directions if self.same else 1
        number = (pair / (2 * repeats)).floor() * 2 + pair % 2
        return angle, self.max_frequency * self.base ** (-number * repeats / self.pairs)
