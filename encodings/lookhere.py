"""LookHere: each head looks in a direction of its own, sees nothing outside its field of view."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.distance import entry
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)
from pebench.specification.options import Added

COMPASS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""Steps (rows, columns) in the directions 0°, 45°, …, 315°, from the right by way of upwards."""

FIELDS = {180: ((0, 2, 4, 6),), 90: ((0, 2, 4, 6), (1, 3, 5, 7)), 45: ((0, 2, 3, 5), (1, 4, 6, 7))}
"""By width of the field of view: in which direction the fields of four heads begin, then of the next four."""

FIRST_LAYER, LAST_LAYER = 1.5, 0.5
"""Slopes fall from the first to the last layer."""


class LookHereEncoding(PositionEncoding):
    """logit − m·‖i − j‖₂ inside the head's field of view, −∞ outside.

    The borders of a field and the cell itself are inside. Fields of 180° lie up, down, left and right; of 90°
    first in the four corners, then around the four axes; of 45° in the eight octants. Heads take them four by
    four, with slope 1, halved whenever all fields have been dealt out. The last heads look everywhere, with
    slopes 1/2, 1/8, 1/32 and 1/128: as many as do not make up four, four if none do, none of four heads. All
    slopes of a layer are multiplied by a factor that falls linearly from 1.5 in the first to 0.5 in the last.
    Fields and factors are those of the published 90° model, and slopes those of its code at a `global_slope`
    of 2; the rule for numbers of heads that it does not have is this project's.
    """

    axes = (2,)
    acts = "B"
    kernels = ("blocked", "flex")
    cost = (
        "a step and H penalties and views for each of N·K pairs, 128 queries at a time; with flex in the "
        "kernel"
    )
    claims = ("shift",)
    source = "Fuller et al. 2024, https://arxiv.org/abs/2405.13985"
    slopes: Tensor
    borders: Tensor

    def __init__(
        self,
        geometry: Geometry,
        view: Literal[45, 90, 180] = 90,
        slope: Annotated[float, Field(ge=0), Added(1.0)] = 1.0,
    ) -> None:
        """
        Args:
            view: width of the field of view, in degrees.
            slope: factor on all slopes; half of the published `global_slope`.
        """
        super().__init__(geometry)
        if geometry.heads < 4:
            raise ValueError(f"{geometry.heads} heads cannot look in four directions")
        slopes, borders = _heads(geometry.heads, view)
        layers = torch.linspace(FIRST_LAYER, LAST_LAYER, geometry.layers)
        self.register_buffer("slopes", slope * layers[:, None] * slopes, persistent=False)
        self.register_buffer("borders", borders, persistent=False)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, 2) rows and columns, like the borders."""
        return x.positions.to(self.borders.dtype)

    def bias(self, x: AttentionInputs) -> Bias:
        """The penalty of each head for each pair of cells."""

        def values(block: Block) -> Tensor:
            step = x.k_table[:, None, block.keys] - x.q_table[:, block.rows, None]
            penalty = self.slopes[x.layer, :, None, None] * step.norm(dim=-1)[:, None]
            inside = torch.einsum("hbx,nqkx->nhbqk", self.borders, step).amin(2) >= 0
            return torch.where(inside, -penalty, float("-inf"))

        slopes, borders = self.slopes[x.layer], self.borders

        def score(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            down, right = (
                entry(x.k_table, batch, key, axis) - entry(x.q_table, batch, query, axis) for axis in (0, 1)
            )
            first, second = (
                borders[head, side, 0] * down + borders[head, side, 1] * right for side in (0, 1)
            )
            penalty = slopes[head] * (down * down + right * right).sqrt()
            return torch.where((first >= 0) & (second >= 0), -penalty, float("-inf"))

        return Dense(values, score)


def _heads(heads: int, view: int) -> tuple[Tensor, Tensor]:
    """The (H,) slopes and the (H, 2, 2) borders of every head: a step is in view if its products with both
    borders are not negative."""
    groups = FIELDS[view]
    directed = max(4, (heads - 1) // 4 * 4)
    slopes, borders = [], []
    for head in range(directed):
        turn, group = divmod(head // 4, len(groups))
        start = groups[group][head % 4]
        slopes.append(2.0**-turn)
        # What lies to the left of the first border and to the right of the second, view degrees further on.
        borders.append([COMPASS[(start + 2) % 8], COMPASS[(start + view // 45 - 2) % 8]])
    for head in range(heads - directed):
        slopes.append(2.0 * 4.0 ** -(head + 1))
        borders.append([(0, 0), (0, 0)])
    return torch.tensor(slopes), torch.tensor(borders, dtype=torch.float32)
