"""The headline metric of a task: one row an encoding and extrapolation, one column an extent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import Collection, rows_of
from pebench.leaderboard.groups import Group
from pebench.leaderboard.run_data import sample
from pebench.leaderboard.sampling import half_width, material
from pebench.store.records import MetricRecord
from pebench.store.scores import Extent, inside, positions

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Entry:
    """The mean of one row at one extent. Numbers are NaN where they are not known.

    Attributes:
        mean: over the seeds.
        half_width: half the width of its 95 % interval.
        over_text: whether the interval is over the text too, not over the seeds alone.
        sampling: half the width of the 95 % interval of one seed's score over the choice of what it was
            measured on, the widest of all seeds.
        text_share: the text's share of its variance, NaN where that is not known or there is none.
        measured_on: what stands behind each seed's score, as ``{"tokens": 65536, "documents": 5}``; empty
            where that is not known.
        diverged: number of runs that diverged.
        expected: number of runs that were asked for.
        rank: see `pebench.leaderboard.ranks`, None where there is none.
        difference: to the baseline, paired by seed.
        difference_half_width: half the width of its 95 % interval.
        p_holm: its corrected p.
        seeds: score by seed, of those that have one.
    """

    mean: float = math.nan
    half_width: float = math.nan
    over_text: bool = False
    sampling: float = math.nan
    text_share: float = math.nan
    measured_on: Mapping[str, int] = field(default_factory=dict)
    diverged: int = 0
    expected: int = 0
    rank: int | None = None
    difference: float = math.nan
    difference_half_width: float = math.nan
    p_holm: float = math.nan
    seeds: Mapping[int, float] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether there is a mean."""
        return not math.isnan(self.mean)


@dataclass(frozen=True)
class Row:
    """The entries of one encoding and extrapolation.

    Attributes:
        label: the group's, with the extrapolation where it is not the default.
        group: of its runs.
        extrapolation: its name, empty for an encoding that has none.
        entries: by extent; one that was not measured is not there.
    """

    label: str
    group: Group
    extrapolation: str
    entries: Mapping[Extent, Entry]

    def at(self, extent: Extent | None) -> Entry:
        """The entry at an extent, an empty one where nothing was measured."""
        return self.entries.get(extent, Entry()) if extent is not None else Entry()


@dataclass(frozen=True)
class LeaderboardTable:
    """The table of one task.

    Attributes:
        key: see `pebench.leaderboard.groups.Group.table`.
        metric: name of the headline, empty while no run has finished.
        record: how it is read.
        extents: the columns, in order.
        extent_unit: what they count.
        rows: the best at the largest extent first.
        best: the best mean of each column that has one.
    """

    key: tuple[str, ...]
    metric: str
    record: MetricRecord
    extents: list[Extent]
    extent_unit: str
    rows: list[Row]
    best: Mapping[Extent, float]

    @property
    def title(self) -> str:
        """The task, and its options where tables differ by them."""
        return f"{self.key[0]} ({', '.join(self.key[1:])})" if self.key[1:] else self.key[0]

    @property
    def largest(self) -> Extent | None:
        """The largest extent, None while there is none."""
        return self.extents[-1] if self.extents else None

    @property
    def trained(self) -> set[Extent]:
        """The extents that were trained at."""
        return {row.group.trained for row in self.rows if row.group.trained is not None}

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries that have a mean."""
        return (entry for row in self.rows for entry in row.entries.values() if entry.known)

    @property
    def material(self) -> str:
        """What the scores are measured on beside seeds; see `pebench.leaderboard.sampling.material`."""
        return material(name for entry in self.entries for name in entry.measured_on)

    @property
    def with_text(self) -> bool:
        """Whether every interval is over seeds and text, or what is in its place."""
        return all(e.over_text for e in self.entries if not math.isnan(e.half_width))

    def is_best(self, extent: Extent, entry: Entry) -> bool:
        """Whether no mean of a column is better than that of this entry."""
        return entry.mean == self.best.get(extent)


def make_tables(collection: Collection, summary: pandas.DataFrame) -> list[LeaderboardTable]:
    """The tables of a sweep, by task and options.

    Args:
        collection: the sweep.
        summary: see `pebench.leaderboard.summary.summarise`.
    """
    entries: dict[str, dict[str, dict[Extent, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows_of(summary):
        if row.metric == collection.headlines.get(collection.groups[row.group].task, ""):
            own = sample(
                collection.by_group[row.group], row.group, (row.metric, row.extent, row.extrapolation)
            )
            entries[row.group][row.extrapolation][row.extent] = Entry(
                mean=row.mean,
                half_width=row.half_width,
                over_text=row.uncertainty.startswith("seeds and "),
                sampling=max(map(half_width, own.by_unit.values()), default=math.nan),
                text_share=row.text_share,
                measured_on=row.measured_on,
                diverged=row.diverged,
                expected=row.expected,
                rank=None if row.rank is None or math.isnan(row.rank) else int(row.rank),
                difference=row.difference,
                difference_half_width=row.difference_half_width,
                p_holm=row.p_holm,
                seeds={seed: value for seed, value in own.scores.items() if not math.isnan(value)},
            )
    tables: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for key, group in collection.groups.items():
        tables[group.table] += _rows(group, entries[key])
    return [_table(collection, key, rows) for key, rows in sorted(tables.items())]


def _rows(group: Group, entries: Mapping[str, Mapping[Extent, Entry]]) -> list[Row]:
    """The row of the default extrapolation, then those of the others.

    Up to the trained extent nothing is extrapolated and only the default is evaluated: its entries there are
    those of every row.
    """
    default = group.default or ""
    base = entries.get(default, {})
    shared = {extent: entry for extent, entry in base.items() if inside(extent, group.trained)}
    others = {name: own for name, own in entries.items() if name != default}
    rows = [Row(group.label, group, default, base)]
    for name, own in others.items():
        rows.append(Row(f"{group.label}, {name}", group, name, shared | dict(own)))
    return rows


def _table(collection: Collection, key: tuple[str, ...], rows: list[Row]) -> LeaderboardTable:
    metric = collection.headlines.get(key[0], "")
    empty = MetricRecord(unit="", higher_is_better=False)
    record = collection.metrics[key[0]][metric] if metric else empty
    extents = sorted({e for row in rows for e in row.entries if e}, key=lambda e: (positions(e), e))
    sign = -1.0 if record.higher_is_better else 1.0

    def standing(row: Row) -> tuple[Any, ...]:
        means = [sign * row.at(extent).mean for extent in reversed(extents)]
        return (*((math.isnan(mean), 0.0 if math.isnan(mean) else mean) for mean in means), row.label)

    best = {}
    for extent in extents:
        means = [sign * entry.mean for row in rows if (entry := row.at(extent)).known]
        if means:
            best[extent] = sign * min(means)
    results = [run.result for row in rows for run in collection.by_group[row.group.key] if run.result]
    return LeaderboardTable(
        key=key,
        metric=metric,
        record=record,
        extents=extents,
        extent_unit=results[-1].extent_unit if results else "positions",
        rows=sorted(rows, key=standing),
        best=best,
    )
