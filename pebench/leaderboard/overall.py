"""One row an encoding over all tables of a sweep: its mean rank, and its score relative to the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pebench.leaderboard.paired_test import average
from pebench.leaderboard.tables import LeaderboardTable, Row


@dataclass(frozen=True)
class Standing:
    """How an encoding does in one table.

    Attributes:
        rank: the mean over the extents of its ranks; NaN where one of them is not known.
        relative: the mean over the extents of its score relative to the best of the extent, 1 for the best:
            score / best where higher is better, best / score where lower is. NaN where one is not known.
    """

    rank: float
    relative: float


@dataclass(frozen=True)
class OverallRow:
    """An encoding over all tables.

    Attributes:
        label: its row's in every table.
        standings: by the title of the table; a table that it has no row in is not there.
        rank, relative: means over all tables, NaN unless every table has one.
    """

    label: str
    standings: Mapping[str, Standing]
    rank: float
    relative: float


def overall(tables: list[LeaderboardTable]) -> list[OverallRow]:
    """The rows, the best relative score first and those with a gap last.

    A mean over some of the tasks would reward an encoding for the tasks that it did not try.

    Args:
        tables: of a sweep, with their headline metrics.
    """
    by_label: dict[str, dict[str, Standing]] = {}
    for table in tables:
        for row in table.rows:
            by_label.setdefault(row.label, {})[table.title] = standing(table, row)
    none = Standing(math.nan, math.nan)
    rows = []
    for label, standings in by_label.items():
        every = [standings.get(table.title, none) for table in tables]
        rank, relative = average([s.rank for s in every]), average([s.relative for s in every])
        rows.append(OverallRow(label, standings, rank, relative))
    return sorted(rows, key=lambda row: (math.isnan(row.relative), -row.relative, row.label))


def standing(table: LeaderboardTable, row: Row) -> Standing:
    """How one row does in its table."""
    ranks = [float(row.at(extent).rank or math.nan) for extent in table.extents]
    relative = [
        _relative(row.at(extent).mean, table.best.get(extent, math.nan), table.record.higher_is_better)
        for extent in table.extents
    ]
    return Standing(average(ranks), average(relative))


def _relative(mean: float, best: float, higher_is_better: bool) -> float:
    """NaN for numbers below zero, whose ratio says nothing, and where the best is zero."""
    if math.isnan(mean) or math.isnan(best) or min(mean, best) < 0:
        return math.nan
    part, whole = (mean, best) if higher_is_better else (best, mean)
    return part / whole if whole else math.nan
