"""Scores against updates, and whether the order of the encodings is still changing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from pebench.leaderboard.collect import Collection
from pebench.leaderboard.run_data import RunData, by_place
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.store.scores import Extent, extent_name


@dataclass(frozen=True)
class LearningCurves:
    """The curves of a table at one extent, by the encodings' default extrapolations.

    Attributes:
        table: of a task.
        extent: that the scores are at.
        updates: of the looks that some row has a mean at, in order.
        means: mean over the seeds by update, for each row that has any; a mean stands where every seed has a
            score.
        seeds: score by update of each seed, likewise.
    """

    table: LeaderboardTable
    extent: Extent
    updates: tuple[int, ...]
    means: Mapping[str, Mapping[int, float]]
    seeds: Mapping[str, Mapping[int, Mapping[int, float]]]

    @property
    def order(self) -> Order | None:
        """The order at the last two looks, of the rows that have means at both; None for fewer than two rows
        or looks."""
        last = {update: sum(update in own for own in self.means.values()) for update in self.updates}
        known = [update for update, count in last.items() if count > 1]
        if len(known) < 2:
            return None
        before, after = known[-2:]
        both = [own for own in self.means.values() if before in own and after in own]
        return _order(before, after, [(own[before], own[after]) for own in both]) if len(both) > 1 else None


@dataclass(frozen=True)
class Order:
    """How the order of rows at one look agrees with that at another.

    Attributes:
        before: update of the first look.
        after: update of the other.
        rows: number of rows.
        swapped: pairs of rows that changed places.
        pairs: of rows.
        correlation: Kendall's τ-b of the scores, NaN where all are equal.
    """

    before: int
    after: int
    rows: int
    swapped: int
    pairs: int
    correlation: float

    def sentence(self, extent: Extent) -> str:
        """Whether the order is still changing."""
        tau = f" (Kendall's τ {self.correlation:.2f})".replace("-", "−")
        tau = "" if math.isnan(self.correlation) else tau
        between = f"between updates {self.before:,} and {self.after:,}"
        if not self.swapped:
            what = f"did not change {between}{tau}"
        else:
            count = f"{self.swapped} of {self.pairs} pair{'s' if self.pairs > 1 else ''}"
            what = f"is still changing: {count} changed places {between}{tau}"
        return f"The order of the {self.rows} encodings at {extent_name(extent)} {what}."


def learning_curves(collection: Collection, table: LeaderboardTable) -> list[LearningCurves]:
    """The curves of a table at the trained and at the largest extent; none where no run has any."""
    wanted = [extent for extent in table.extents if extent in table.trained or extent == table.largest]
    rows = [row for row in table.rows if row.label == row.group.label]
    found = []
    for extent in wanted:
        own = {row.label: _curve(collection.by_group[row.group.key], table, row, extent) for row in rows}
        seeds = {label: by_update for label, by_update in own.items() if by_update}
        means = {
            row.label: _means(seeds[row.label], len(collection.by_group[row.group.key]))
            for row in rows
            if row.label in seeds
        }
        updates = sorted({update for by_update in means.values() for update in by_update})
        if len(updates) > 1:
            found.append(LearningCurves(table, extent, tuple(updates), means, seeds))
    return found


def _order(before: int, after: int, scores: list[tuple[float, float]]) -> Order:
    from scipy.stats import kendalltau

    turns = [(a[0] - b[0]) * (a[1] - b[1]) for a, b in combinations(scores, 2)]
    correlation = float(kendalltau(*zip(*scores, strict=True)).statistic)
    return Order(before, after, len(scores), sum(turn < 0 for turn in turns), len(turns), correlation)


def _curve(
    runs: list[RunData], table: LeaderboardTable, row: Row, extent: Extent
) -> dict[int, dict[int, float]]:
    """Score by update and seed."""
    found: dict[int, dict[int, float]] = {}
    for run in runs:
        for moment in run.curve:
            default = moment.scores[0].extrapolation if moment.scores else ""
            value = by_place(moment.scores).get((table.metric, extent, row.group.default or default))
            if value is not None and not math.isnan(value):
                found.setdefault(moment.step, {})[run.spec.seed] = value
    return found


def _means(by_update: Mapping[int, Mapping[int, float]], seeds: int) -> dict[int, float]:
    return {
        update: math.fsum(values.values()) / seeds
        for update, values in sorted(by_update.items())
        if len(values) == seeds
    }
