"""Scores over a grid: one panel an encoding.

For a task that measures a metric at several values of something beside the extent, such as the depth at which
a sentence is hidden (`accuracy-depth-25`, `accuracy-depth-50`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots.heat_map import field
from pebench.leaderboard.plots.style import panels
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import number
from pebench.scores import extent_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 24


class Stem(NamedTuple):
    """The name of a family of metrics, and that of the axis on which they differ: ``accuracy``, ``depth``."""

    metric: str
    axis: str


def stems(metrics: Iterable[str]) -> dict[Stem, dict[float, str]]:
    """The families of at least two metrics that differ by a number at the end, each by that number."""
    found: dict[Stem, dict[float, str]] = {}
    for metric in metrics:
        match = re.fullmatch(r"(.+)-([a-z]+)-(\d+(?:\.\d+)?)", metric)
        if match:
            found.setdefault(Stem(match[1], match[2]), {})[float(match[3])] = metric
    return {stem: dict(sorted(rows.items())) for stem, rows in found.items() if len(rows) > 1}


def draw(board: Board) -> Figure | None:
    """A panel an encoding and family of metrics; None for a sweep without such a family. Where the headline
    of a task has a family, that is the one drawn."""
    means = _means(board)
    known = [
        (table, row.group.key, row.label, stem, rows)
        for table in board.tables
        for stem, rows in _drawn(board, table).items()
        for row in table.rows
        if row.label == row.group.label
        and any((row.group.key, metric, e) in means for metric in rows.values() for e in table.extents)
    ]
    wanted = known[:_MOST_PANELS]
    if not wanted:
        return None
    heights = [1.3 + 0.34 * len(rows) for *_, rows in wanted]
    figure, axes = panels(len(wanted), 7.2, heights)
    for each, (table, key, label, stem, rows) in zip(axes, wanted, strict=True):
        record = board.collection.metrics[table.key[0]][next(iter(rows.values()))]
        values = [
            [means.get((key, metric, extent), math.nan) for extent in table.extents]
            for metric in rows.values()
        ]
        each.set_title(f"{label}: {stem.metric}" + (f" ({record.unit})" if record.unit else ""), loc="left")
        each.set(xlabel=f"extent ({table.extent_unit})", ylabel=stem.axis)
        texts = [[number(value) if math.isfinite(value) else "" for value in row] for row in values]
        columns = [extent_name(extent) for extent in table.extents]
        names = [f"{value:g}" for value in rows]
        field(
            each, values, texts, names, columns, record.higher_is_better, _bounds(board, table, stem, means)
        )
    if len(wanted) < len(known):
        figure.supxlabel(f"the first {len(wanted)} of {len(known)}; leaderboard.csv has all", fontsize=9)
    return figure


def _drawn(board: Board, table: LeaderboardTable) -> dict[Stem, dict[float, str]]:
    """The families of a table that are drawn."""
    found = stems(board.collection.metrics.get(table.key[0], {}))
    own = {stem: rows for stem, rows in found.items() if stem.metric == table.metric}
    return own or found


def _means(board: Board) -> dict[tuple[str, str, tuple[int, ...]], float]:
    """The means of the default extrapolations by group, metric and extent."""
    columns = ["group", "metric", "extent", "extrapolation", "mean"]
    return {
        (key, metric, extent): mean
        for key, metric, extent, method, mean in board.summary[columns].itertuples(index=False, name=None)
        if method == (board.collection.groups[key].default or "") and math.isfinite(mean)
    }


def _bounds(
    board: Board, table: LeaderboardTable, stem: Stem, means: dict[tuple[str, str, tuple[int, ...]], float]
) -> tuple[float, float]:
    """The bounds of the colours of all panels of a family, so that they compare: for percents 0 and 100, for
    anything else the smallest and the largest mean."""
    rows = stems(board.collection.metrics[table.key[0]])[stem].values()
    if {board.collection.metrics[table.key[0]][metric].unit for metric in rows} == {"%"}:
        return 0.0, 100.0
    keys = {row.group.key for row in table.rows}
    metrics = set(rows)
    values = [
        mean for (key, metric, _), mean in means.items() if key in keys and metric in metrics and mean == mean
    ]
    return (min(values), max(values)) if values else (0.0, 1.0)
