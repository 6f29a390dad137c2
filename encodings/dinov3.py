"""DINOv3's axial RoPE: angles by the place in the picture, whose sides all have the length 2."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import cosines_and_sines, rotate_by_table
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, StepRNG, TableInputs

Positive = Annotated[float, Field(gt=0)]


class DinoV3Encoding(PositionEncoding):
    """Cell (r, c) of R × C lies at u = (2(r + ½)/R − 1, 2(c + ½)/C − 1). The first half of a head's pairs
    turns by 2π·u_1/period_t with the row, the second half by 2π·u_2/period_t with the column.

    period_t = base^(4t/d), t = 0…d/4−1. Pairs are the interleaved (2c, 2c+1). In training all cells of a step
    are moved, then stretched: u ← (u + U(−shift, shift))·exp U(−ln jitter, ln jitter), one draw an axis each,
    times exp U(−ln rescale, ln rescale), one draw for both axes.
    """

    axes = (2,)
    acts = "R"
    shared_keys = True
    head_width_only = True
    extrapolations = ("interpolate",)
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Siméoni et al. 2025, https://arxiv.org/abs/2508.10104"

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 100.0,
        periods: tuple[Positive, Positive] | None = None,
        normalize: Literal["separate", "max", "min"] = "separate",
        shift: Annotated[float, Field(ge=0)] = 0.0,
        jitter: Annotated[float, Field(ge=1)] = 1.0,
        rescale: Annotated[float, Field(ge=1)] = 2.0,
    ) -> None:
        """
        Args:
            base: of the geometric progression of periods.
            periods: the shortest and the longest instead, with a geometric progression between them.
            normalize: what sides are divided by: each by itself, or both by the longer or the shorter one.
            shift: in training, 0 for none.
            jitter: in training, 1 for none.
            rescale: in training, 1 for none.
        """
        super().__init__(geometry)
        if geometry.head_dim % 4 or (periods and geometry.head_dim < 8):
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into pairs for two axes")
        self.base, self.between, self.normalize = base, periods, normalize
        self.shift, self.jitter, self.rescale = shift, jitter, rescale

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32."""
        sides = {"separate": x.extent, "max": (max(x.extent),) * 2, "min": (min(x.extent),) * 2}
        axes = zip(x.positions.double().unbind(-1), sides[self.normalize], strict=True)
        places = [(2 * along + 1) / side - 1 for along, side in axes]
        if x.rng is not None:
            shifts, factors = self.augmentation(x.rng)
            places = [(u + s) * f for u, s, f in zip(places, shifts, factors, strict=True)]
        waves = 2 * math.pi / self._periods(x.device)
        return cosines_and_sines(torch.cat([u[..., None] * waves for u in places], dim=-1))

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        return rotate_by_table(x)

    def augmentation(self, rng: StepRNG) -> tuple[list[float], list[float]]:
        """The shifts of the two axes in a training step, and the factors on what is shifted."""
        draws = 2 * torch.rand(5, generator=rng.generator("dinov3", rng.step), dtype=torch.float64) - 1
        exponents = draws[2:4] * math.log(self.jitter) + draws[4] * math.log(self.rescale)
        return (draws[:2] * self.shift).tolist(), exponents.exp().tolist()

    def _periods(self, device: torch.device) -> Tensor:
        count = self.geometry.head_dim // 4
        steps = torch.arange(count, dtype=torch.float64, device=device)
        if self.between is None:
            return self.base ** (steps / count)
        shortest, longest = self.between
        return shortest * (longest / shortest) ** (steps / (count - 1))
