"""Biases that depend on the distance between query and key alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.position_encoding import Block, Dense, TableInputs


class Placed(NamedTuple):
    """The table of an encoding that looks at distances on one axis.

    Attributes:
        positions: (B|1, N, 1) integers. extent: that is being served; every position lies below it.
        consecutive: whether they are known to be, see `TableInputs`.
    """

    positions: Tensor
    extent: int
    consecutive: bool = False


def placed(x: TableInputs) -> Placed:
    """The table of (B|1, N, 1) positions. The extent bounds their distances without a look at them, for which
    a GPU would have to be waited for."""
    return Placed(x.positions, x.extent[0], x.consecutive)


def by_distance(curve: Callable[[Tensor], Tensor], query: Placed, key: Placed) -> Dense:
    """A bias that is computed once for each distance and looked up for each pair of positions.

    Args:
        curve: from the distances i − j, (R,) integers of either sign, to their bias, (H, R) float32.
        query: the N positions i. key: the K positions j.
    """
    longest = max(query.extent, key.extent) - 1
    curves = curve(torch.arange(-longest, longest + 1, device=query.positions.device))
    rows, columns = query.positions + longest, key.positions

    def values(block: Block) -> Tensor:
        place = rows[:, block.rows] - columns[:, block.keys].transpose(1, 2)
        if curves.device.type == "cpu" and torch.compiler.is_compiling():
            return _looked_up_as_one_row(curves, place)
        # Several times as fast as indexing with the matrix, above all in the backward pass.
        return curves.index_select(1, place.flatten()).view(-1, *place.shape).transpose(0, 1)

    def score(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return curves[head, entry(rows, batch, query) - entry(columns, batch, key)]

    count = query.positions.shape[1]
    along = None
    if query.consecutive and key.consecutive and count == key.positions.shape[1]:
        along = curves[:, longest + 1 - count : longest + count]
    shared = len(query.positions) == len(key.positions) == 1
    return Dense(values, score, shared, along)


def _looked_up_as_one_row(curves: Tensor, place: Tensor) -> Tensor:
    """(B|1, H, rows, keys) numbers of (H, R) curves. Compiled for a CPU by PyTorch 2.13, the gradient of
    choosing columns is written outside of the curves where another gradient has the heads last."""
    starts = torch.arange(len(curves), device=curves.device) * curves.shape[1]
    whole = place[:, None] + starts[:, None, None]
    return curves.flatten().index_select(0, whole.flatten()).view(whole.shape)


def entry(table: Tensor, batch: Tensor, place: Tensor, channel: int = 0) -> Tensor:
    """One number of a (B|1, N, C) table, for a bias that is given number by number."""
    return table[batch, place, channel] if len(table) > 1 else table[0, place, channel]


def separation(query: Tensor, key: Tensor, batch: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """‖i − j‖₂ between entries of two (B|1, N, A) float32 tables, for a bias given number by number."""
    steps = [entry(query, batch, i, axis) - entry(key, batch, j, axis) for axis in range(query.shape[-1])]
    if len(steps) == 1:
        return steps[0].abs()
    return sum((step * step for step in steps[1:]), steps[0] * steps[0]).sqrt()


class Cells(NamedTuple):
    """The table of an encoding that looks at steps between the cells of a grid.

    Attributes:
        codes: (B|1, N, 1) integers row·(2C − 1) + column on a grid of C columns: each step between two cells
            has a difference of codes of its own. Negative for tokens that stand nowhere, which get any bias.
        rows: that are being served; every row lies below.
        columns: likewise.
    """

    codes: Tensor
    rows: int
    columns: int


def cells(x: TableInputs) -> Cells:
    """The table of (B|1, N, 2) positions."""
    rows, columns = x.extent
    return Cells(x.positions[..., :1] * (2 * columns - 1) + x.positions[..., 1:], rows, columns)


def by_step(curves: Tensor, query: Cells, key: Cells) -> Dense:
    """A bias that is looked up by the step from key to query.

    Args:
        curves: (H, 2R − 1, 2C − 1) float32 numbers by rows and columns of the step, the zero step in the
            middle.
        query: the N cells.
        key: the K cells.
    """
    extent = (query.rows - 1) * (2 * query.columns - 1) + query.columns
    flat = curves.flatten(1)
    placed = (Placed(side.codes.clamp(min=0), extent) for side in (query, key))
    return by_distance(lambda _: flat, *placed)
