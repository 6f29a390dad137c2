"""The headline metric of a table: one line an encoding and extrapolation, one column an extent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import Collection
from pebench.leaderboard.groups import Group
from pebench.scores import Extent, inside, positions
from pebench.store import MetricRecord

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Cell:
    """One mean.

    Attributes:
        mean: NaN where it is not known.
        half_width: of its interval, NaN for one seed.
        diverged: how many of the `expected` runs diverged.
        rank: see `pebench.leaderboard.comparison.ranks`, None where there is none.
        difference, difference_half_width: to the baseline, paired by seed; NaN where it is not known.
        p_holm: its corrected p.
        seeds: value by seed, of those that have one.
    """

    mean: float
    half_width: float
    diverged: int
    expected: int
    rank: int | None
    difference: float
    difference_half_width: float
    p_holm: float
    seeds: Mapping[int, float]

    @property
    def known(self) -> bool:
        """Whether there is a mean."""
        return not math.isnan(self.mean)


@dataclass(frozen=True)
class Line:
    """The cells of one encoding and extrapolation.

    Attributes:
        label: the group's, with the extrapolation where it is not the default.
        group: the cells' group.
        cells: by extent; one that was not measured is not there.
    """

    label: str
    group: Group
    cells: Mapping[Extent, Cell]


@dataclass(frozen=True)
class Wide:
    """A table.

    Attributes:
        key: see `pebench.leaderboard.groups.Group.table`.
        title: the task, and its options where tables differ by them.
        metric: name of the headline, empty while no run has finished.
        record: how it is read.
        extents: the columns, in order.
        extent_unit: what they count.
        trained: the extents that were trained at.
        lines: the best at the largest extent first.
        best: the best mean of each column that has one.
    """

    key: tuple[str, ...]
    title: str
    metric: str
    record: MetricRecord
    extents: list[Extent]
    extent_unit: str
    trained: frozenset[Extent]
    lines: list[Line]
    best: Mapping[Extent, float]

    def is_best(self, extent: Extent, cell: Cell | None) -> bool:
        """Whether no mean of a column is better than that of this cell."""
        return cell is not None and cell.mean == self.best.get(extent)


def widen(collection: Collection, summary: pandas.DataFrame) -> list[Wide]:
    """The tables of a sweep, by title.

    Args:
        collection: the sweep. summary: see `pebench.leaderboard.summary.summarise`.
    """
    rows: dict[str, dict[str, dict[Extent, Cell]]] = {}
    headlines = collection.headlines
    seeds = _seeds(collection)
    places = ["group", "metric", "extrapolation", "extent"]
    numbers = [
        "mean",
        "half_width",
        "diverged",
        "expected",
        "rank",
        "difference",
        "difference_high",
        "p_holm",
    ]
    for key, metric, method, extent, *values in summary[places + numbers].itertuples(index=False, name=None):
        if metric == headlines.get(collection.groups[key].task, ""):
            mean, half_width, diverged, expected, rank, difference, high, p = values
            rows.setdefault(key, {}).setdefault(method, {})[extent] = Cell(
                mean=mean,
                half_width=half_width,
                diverged=diverged,
                expected=expected,
                rank=None if rank is None or math.isnan(rank) else int(rank),
                difference=difference,
                difference_half_width=high - difference,
                p_holm=p,
                seeds=seeds.get((key, method, extent), {}),
            )
    tables: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for key, group in collection.groups.items():
        tables[group.table] += _lines(group, rows.get(key, {}))
    units = {
        collection.groups[each.spec.group].table: each.result.extent_unit
        for each in collection.runs
        if each.result is not None
    }
    return [
        _wide(
            table,
            lines,
            collection.metrics.get(table[0], {}),
            headlines.get(table[0], ""),
            units.get(table, "positions"),
        )
        for table, lines in sorted(tables.items())
    ]


def _seeds(collection: Collection) -> dict[tuple[str, str, Extent], dict[int, float]]:
    """The headline scores by group, extrapolation and extent, and by seed."""
    found: dict[tuple[str, str, Extent], dict[int, float]] = defaultdict(dict)
    headlines = collection.headlines
    columns = ["group", "metric", "extrapolation", "extent", "seed", "value"]
    for key, metric, method, extent, seed, value in collection.scores[columns].itertuples(
        index=False, name=None
    ):
        if metric == headlines[collection.groups[key].task] and not math.isnan(value):
            found[key, method, extent][seed] = value
    return found


def _wide(
    table: tuple[str, ...],
    lines: list[Line],
    metrics: Mapping[str, MetricRecord],
    metric: str,
    extent_unit: str,
) -> Wide:
    record = metrics[metric] if metric else MetricRecord(unit="", higher_is_better=False)
    extents = sorted({e for line in lines for e in line.cells if e}, key=lambda e: (positions(e), e))
    sign = -1.0 if record.higher_is_better else 1.0

    def standing(line: Line) -> tuple[Any, ...]:
        cells = [line.cells.get(extent) for extent in reversed(extents)]
        known = [(0, sign * cell.mean) if cell is not None and cell.known else (1, 0.0) for cell in cells]
        return (*known, line.label)

    return Wide(
        key=table,
        title=f"{table[0]} ({', '.join(table[1:])})" if table[1:] else table[0],
        metric=metric,
        record=record,
        extents=extents,
        extent_unit=extent_unit,
        trained=frozenset(line.group.trained for line in lines if line.group.trained is not None),
        lines=sorted(lines, key=standing),
        best=_best(lines, extents, record),
    )


def _best(lines: list[Line], extents: list[Extent], record: MetricRecord) -> dict[Extent, float]:
    best = {}
    for extent in extents:
        cells = [line.cells[extent] for line in lines if extent in line.cells]
        means = [cell.mean for cell in cells if cell.known]
        if means:
            best[extent] = max(means) if record.higher_is_better else min(means)
    return best


def _lines(group: Group, rows: Mapping[str, Mapping[Extent, Cell]]) -> list[Line]:
    """The default extrapolation's line, then the others'.

    Up to the trained extent nothing is extrapolated and only the default is evaluated: its cells there are
    those of every line.
    """
    default = group.default or ""
    base = rows.get(default, {})
    shared = {extent: cell for extent, cell in base.items() if inside(extent, group.trained)}
    others = {name: cells for name, cells in rows.items() if name != default}
    lines = [Line(group.label, group, base)]
    lines += [Line(f"{group.label}, {name}", group, {**shared, **cells}) for name, cells in others.items()]
    return lines
