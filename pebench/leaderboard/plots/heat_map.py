"""Encodings × extents: the best of a column bright, every number written into its field."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots.style import WIDE_RANGE, entitle, names_of, nothing_to_show, panels
from pebench.leaderboard.tables import Entry, LeaderboardTable
from pebench.leaderboard.wording import entry_text, extent_headings, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROWS = 40
_ROW = 0.34
"""Inches."""


def draw(board: Board) -> Figure:
    """A panel a table."""
    heights = [1.5 + _ROW * min(len(table.rows), _MOST_ROWS) for table in board.tables]
    figure, axes = panels(len(board.tables), 7.2, heights)
    for each, table in zip(axes, board.tables, strict=True):
        _panel(each, table)
    return figure


def _panel(axes: Axes, table: LeaderboardTable) -> None:
    shown = table.rows[:_MOST_ROWS]
    values = [[row.at(extent).mean for extent in table.extents] for row in shown]
    title = f"{table.title}: {table.metric}" if table.metric else table.title
    if len(table.rows) > _MOST_ROWS:
        title += f", the best {_MOST_ROWS} of {len(table.rows)}"
    entitle(axes, title)
    if not any(math.isfinite(value) for row in values for value in row):
        nothing_to_show(axes)
        return
    names = names_of([table])
    labels = [textwrap.shorten(names[row.label].replace("\n", " "), 40, placeholder="…") for row in shown]
    columns = [heading.replace(" (trained)", "\n(trained)") for heading in extent_headings(table)]
    texts = [[_text(row.at(extent)) for extent in table.extents] for row in shown]
    field(axes, values, texts, labels, columns, table.record.higher_is_better)
    axes.set_xlabel(f"extent ({table.extent_unit})")


def _text(entry: Entry) -> str:
    return number(entry.mean) if entry.known else entry_text(entry)


def field(
    axes: Axes,
    values: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    higher_is_better: bool,
    bounds: tuple[float, float] | None = None,
) -> None:
    """Draws a matrix with bright fields for good numbers; those that are not known stay empty.

    Args:
        axes: where to.
        values, texts: of every field.
        rows, columns: what they are called.
        higher_is_better: which numbers are good.
        bounds: of the colours, by default those of the values.
    """
    import matplotlib
    import numpy
    from matplotlib.colors import LogNorm, Normalize

    matrix = numpy.array(values, dtype=float)
    lowest, highest = bounds or (float(numpy.nanmin(matrix)), float(numpy.nanmax(matrix)))
    if lowest == highest:
        # All are the best, and matplotlib would give them the colour of the lowest.
        lowest, highest = (lowest - 1.0, highest) if higher_is_better else (lowest, highest + 1.0)
    logarithmic = bounds is None and lowest > 0 and highest / lowest > WIDE_RANGE
    norm = LogNorm(lowest, highest) if logarithmic else Normalize(lowest, highest)
    colours = matplotlib.colormaps["viridis" if higher_is_better else "viridis_r"]
    axes.pcolormesh(
        numpy.ma.masked_invalid(matrix), cmap=colours, norm=norm, edgecolors="white", linewidth=1.0
    )
    axes.invert_yaxis()
    axes.set_xticks([column + 0.5 for column in range(len(columns))], columns)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            value = matrix[row, column]
            # The middle of viridis takes white and black equally well.
            bright = math.isfinite(value) and sum(colours(norm(value))[:3]) > 1.5
            ink = (
                ("black" if bright else "white")
                if math.isfinite(value)
                else matplotlib.rcParams["text.color"]
            )
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8.5, color=ink)
