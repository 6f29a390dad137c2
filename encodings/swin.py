"""Swin's relative position bias: a learned number for each head and each step between two cells."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.formulas.distance import Cells, by_step, cells, entry
from pebench.formulas.geometric_steps import geometric_steps
from pebench.position_encoding import AttentionInputs, Block, Dense, Geometry, PositionEncoding, TableInputs


class _Window(NamedTuple):
    """The table: cells, and whether another grid than the trained one is reached geometrically."""

    cells: Cells
    geometric: bool


class SwinEncoding(PositionEncoding):
    """logit + T_h[Δr, Δc], Δ = query − key, with a table T of (2R − 1) × (2C − 1) steps on the trained R × C
    grid, drawn from N(0, 0.02).

    For other grids T is resized: `bicubic` stretches it as a picture; `geometric` (BEiT) lays its entries at
    the steps 0, ±1, ±(1 + q), ±(1 + q + q²), … and interpolates linearly, with q from 1.01 to 1.5 such that
    the last lies at the border, as near as may be. A class token has three numbers a head: as the query of a
    cell, as the key of a cell, and with itself.
    """

    axes = (2,)
    acts = "B"
    extrapolations = ("bicubic", "geometric")
    kernels = ("blocked", "flex", "shared")
    cost = "a lookup for each of N·K·H logits, 128 queries at a time; with flex in the kernel"
    claims = ("shift",)
    source = "Liu et al. 2021, https://arxiv.org/abs/2103.14030; geometric: Bao et al. 2022, https://arxiv.org/abs/2106.08254"

    def __init__(self, geometry: Geometry, shared: bool = False) -> None:
        """
        Args:
            shared: whether all layers have the same table.
        """
        super().__init__(geometry)
        layers, sides = 1 if shared else geometry.layers, [2 * size - 1 for size in geometry.extent]
        self.steps = nn.Parameter(torch.randn(layers, geometry.heads, *sides) * 0.02)
        self.prefix = None
        if geometry.prefix_tokens:
            self.prefix = nn.Parameter(torch.randn(layers, 3, geometry.heads) * 0.02)

    def table(self, x: TableInputs) -> _Window:
        """The cells."""
        return _Window(cells(x), x.extrapolation.method == "geometric")

    def prefix_table(self) -> _Window:
        """No cells."""
        shape = (1, self.geometry.prefix_tokens, 1)
        return _Window(Cells(torch.full(shape, -1, device=self.steps.device), 0, 0), False)

    def bias(self, x: AttentionInputs) -> Dense:
        """The numbers of the layer."""
        layer, query, key = x.layer % len(self.steps), x.q_table.cells, x.k_table.cells
        found = by_step(self._resized(layer, x.q_table), query, key)
        return found if self.prefix is None else _beside(found, self.prefix[layer], query.codes, key.codes)

    def _resized(self, layer: int, at: _Window) -> Tensor:
        steps, extent = self.steps[layer], (at.cells.rows, at.cells.columns)
        if extent == self.geometry.extent:
            return steps
        if at.geometric:
            down, along = (
                geometric_steps(*sizes) for sizes in zip(self.geometry.extent, extent, strict=True)
            )
            return down.to(steps) @ steps @ along.to(steps).T
        sides = [2 * size - 1 for size in extent]
        return F.interpolate(steps[None], size=sides, mode="bicubic", align_corners=False)[0]


def _beside(cells: Dense, numbers: Tensor, query: Tensor, key: Tensor) -> Dense:
    """The bias of cells, and the (3, H) numbers where query or key is a class token."""
    as_query, as_key, itself = numbers[:, None, :, None, None]

    def values(block: Block) -> Tensor:
        no_query = query[:, None, block.rows] < 0
        no_key = key[:, None, block.keys].transpose(2, 3) < 0
        outside = torch.where(no_query, torch.where(no_key, itself, as_query), as_key)
        return torch.where(no_query | no_key, outside, cells.values(block))

    def score(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        no_query, no_key = entry(query, batch, i) < 0, entry(key, batch, j) < 0
        alone = torch.where(no_key, numbers[2, head], numbers[0, head])
        outside = torch.where(no_query, alone, numbers[1, head])
        assert cells.score is not None
        return torch.where(no_query | no_key, outside, cells.score(batch, head, i, j))

    return Dense(values, score)
