"""Ranks of the rows of a table at one metric and extent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pebench.leaderboard.collect import Collection

if TYPE_CHECKING:
    import pandas

Family = tuple[tuple[str, ...], str, tuple[int, ...]]
"""Table, metric and extent: rows that are compared with each other."""


def families(collection: Collection, rows: pandas.DataFrame) -> list[Family]:
    """The family of each row.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
    """
    places = rows[["group", "metric", "extent"]].itertuples(index=False, name=None)
    return [(collection.groups[key].table, metric, extent) for key, metric, extent in places]


def ranks(collection: Collection, rows: pandas.DataFrame) -> list[int | None]:
    """The rank of every row among those of its table at the same metric and extent.

    It is one more than the number of rows whose whole interval is better, so that rows whose intervals
    overlap with that of the best share the first rank. A row without an interval has no rank.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
    """
    import numpy

    found: list[int | None] = [None] * len(rows)
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    for ((task, *_), metric, _), members in _members(families(collection, rows)):
        known = numpy.array([number for number in members if not numpy.isnan(low[number])], dtype=int)
        if not known.size:
            continue
        if collection.metrics[task][metric].higher_is_better:
            ahead, worst = numpy.sort(-low[known]), -high[known]
        else:
            ahead, worst = numpy.sort(high[known]), low[known]
        for number, place in zip(known, numpy.searchsorted(ahead, worst, side="left"), strict=True):
            found[number] = int(place) + 1
    return found


def _members(found: list[Family]) -> Iterator[tuple[Family, list[int]]]:
    members: dict[Family, list[int]] = {}
    for number, family in enumerate(found):
        members.setdefault(family, []).append(number)
    yield from members.items()
