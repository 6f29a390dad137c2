"""Scores over a grid: one panel an encoding and extrapolation.

For a task that measures a metric at several values of something beside the extent, such as the depth at which
a sentence is hidden (`accuracy-depth-25`, `accuracy-depth-50`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots.heat_map import field
from pebench.leaderboard.plots.style import entitle, panels
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.leaderboard.wording import number
from pebench.store.scores import Extent, extent_name, inside

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


@dataclass(frozen=True)
class Family:
    """The means of one family of metrics in one table.

    Attributes:
        stem: its name.
        rows: the metric by its number.
        unit: of the metrics.
        higher_is_better: which of them are good.
        means: by label of the row, then by number and extent.
        bounds: of the colours of all its maps, so that they compare: for percents 0 and 100, for anything
            else the smallest and the largest mean.
    """

    stem: Stem
    rows: Mapping[float, str]
    unit: str
    higher_is_better: bool
    means: Mapping[str, Mapping[tuple[float, Extent], float]]
    bounds: tuple[float, float]


def families(board: Board, table: LeaderboardTable) -> list[Family]:
    """The families of a table that have means. Where the headline of a task has a family, it is the only
    one."""
    known = board.collection.metrics.get(table.key[0], {})
    found = stems(known)
    wanted = {stem: rows for stem, rows in found.items() if stem.metric == table.metric} or found
    means = _means(board)
    families = []
    for stem, rows in wanted.items():
        by_label = {
            row.label: {
                (value, extent): means[place]
                for value, metric in rows.items()
                for extent in table.extents
                if (place := (row.group.key, metric, extent, _measured_by(row, extent))) in means
            }
            for row in table.rows
        }
        by_label = {label: fields for label, fields in by_label.items() if fields}
        values = [mean for fields in by_label.values() for mean in fields.values()]
        if values:
            record = known[next(iter(rows.values()))]
            percent = {known[metric].unit for metric in rows.values()} == {"%"}
            bounds = (0.0, 100.0) if percent else (min(values), max(values))
            families.append(Family(stem, rows, record.unit, record.higher_is_better, by_label, bounds))
    return families


def draw(board: Board) -> Figure | None:
    """A panel a row of a table and family of metrics; None for a sweep without such a family."""
    known = [
        (table, family, label)
        for table in board.tables
        for family in families(board, table)
        for label in family.means
    ]
    wanted = known[:_MOST_PANELS]
    if not wanted:
        return None
    several = len({table.key for table, _, _ in known}) > 1
    heights = [1.3 + 0.34 * len(family.rows) for _, family, _ in wanted]
    figure, axes = panels(len(wanted), 7.2, heights)
    for each, (table, family, label) in zip(axes, wanted, strict=True):
        values = [
            [family.means[label].get((value, extent), math.nan) for extent in table.extents]
            for value in family.rows
        ]
        unit = f" ({family.unit})" if family.unit else ""
        whose = f"{label}, {table.title}" if several else label
        entitle(each, f"{whose}: {family.stem.metric}{unit}")
        each.set(xlabel=f"extent ({table.extent_unit})", ylabel=family.stem.axis)
        texts = [[number(value) if math.isfinite(value) else "" for value in row] for row in values]
        columns = [extent_name(extent) for extent in table.extents]
        names = [f"{value:g}" for value in family.rows]
        field(each, values, texts, names, columns, family.higher_is_better, family.bounds)
    if len(wanted) < len(known):
        figure.supxlabel(f"the first {len(wanted)} of {len(known)}; leaderboard.csv has all", fontsize=9)
    return figure


def _measured_by(row: Row, extent: Extent) -> str:
    """The extrapolation that a row was measured by at an extent: up to the trained one it is the default."""
    return (row.group.default or "") if inside(extent, row.group.trained) else row.extrapolation


def _means(board: Board) -> dict[tuple[str, str, Extent, str], float]:
    """The means by group, metric, extent and extrapolation."""
    columns = ["group", "metric", "extent", "extrapolation", "mean"]
    return {
        (key, metric, extent, method): mean
        for key, metric, extent, method, mean in board.summary[columns].itertuples(index=False, name=None)
        if math.isfinite(mean)
    }
