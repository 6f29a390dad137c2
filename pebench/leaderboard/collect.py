"""A sweep as long frames: one row a cell, a score, an evaluation's cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.evidence import Evidence
from pebench.leaderboard.groups import Group, group
from pebench.scores import trained_extent
from pebench.store import MetricRecord, SweepRecord

if TYPE_CHECKING:
    import pandas

MISSING = "missing"
"""The status of a cell without a result; the others are those of `pebench.store.Result`."""


@dataclass(frozen=True)
class Collection:
    """All that the tables, plots and pages of a sweep are made from.

    Attributes:
        sweep: its record.
        evidence: what each of its runs says, in the order of groups and seeds.
        groups: by key, in the order of tables and rows.
        columns: the names of the settings in which groups differ.
        metrics: how each metric is read, the headline first, by task.
        cells: run_id, group, seed, status, diverged_at.
        scores: run_id, group, seed, metric, extent, extrapolation, value.
        costs: run_id, group, seed, phase, extent, extrapolation, items_per_second, peak_memory_bytes,
            kernels, parameters, encoding_parameters, item.
        warnings: sentences about what makes the numbers incomparable.
    """

    sweep: SweepRecord
    evidence: list[Evidence]
    groups: dict[str, Group]
    columns: tuple[str, ...]
    metrics: dict[str, dict[str, MetricRecord]]
    cells: pandas.DataFrame
    scores: pandas.DataFrame
    costs: pandas.DataFrame
    warnings: tuple[str, ...]

    @property
    def headlines(self) -> dict[str, str]:
        """The metric that each task is judged by."""
        return {task: next(iter(metrics), "") for task, metrics in self.metrics.items()}


_Cell = tuple[str, Evidence]
"""What a run says, after the key of its group."""


def collect(sweep: SweepRecord, evidence: Iterable[Evidence], warnings: Iterable[str] = ()) -> Collection:
    """Puts together what the runs of a sweep say.

    Args:
        sweep: its record.
        evidence: what each of its runs says, in any order.
        warnings: what is known beforehand to make the numbers incomparable or incomplete.
    """
    cells = sorted(
        ((each.spec.group, each) for each in evidence),
        key=lambda cell: (cell[0], cell[1].spec.seed, cell[1].run_id),
    )
    groups, columns = group(cells)
    place = {key: number for number, key in enumerate(groups)}
    cells.sort(key=lambda cell: place[cell[0]])
    metrics: dict[str, dict[str, MetricRecord]] = defaultdict(dict)
    for _, cell in cells:
        if cell.result is not None:
            metrics[cell.spec.task.name].update(cell.result.metrics)
    return Collection(
        sweep=sweep,
        evidence=[cell for _, cell in cells],
        groups=groups,
        columns=columns,
        metrics=dict(metrics),
        cells=_frame(_cell_rows(cells), ["run_id", "group", "seed", "status", "diverged_at"]),
        scores=_frame(_score_rows(cells), [*_SHARED, *PLACE, "value"]),
        costs=_frame(_cost_rows(cells), [*_SHARED, "phase", *_PLACE, *_COSTS]),
        warnings=(*warnings, *_different_data(cells, groups)),
    )


PLACE = ["metric", "extent", "extrapolation"]
"""The columns that say what was measured."""

_SHARED = ["run_id", "group", "seed"]
_PLACE = ["extent", "extrapolation"]
_COSTS = [
    "items_per_second",
    "peak_memory_bytes",
    "kernels",
    "parameters",
    "encoding_parameters",
    "item",
]


def _cell_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for key, cell in cells:
        status = cell.result.status if cell.result is not None else MISSING
        diverged_at = cell.result.diverged_at if cell.result is not None else None
        yield [cell.run_id, key, cell.spec.seed, status, diverged_at]


def _score_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for key, cell in cells:
        for score in cell.result.scores if cell.result is not None else ():
            place = [score.metric, score.extent, score.extrapolation]
            yield [cell.run_id, key, cell.spec.seed, *place, score.value]


def _cost_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for key, cell in cells:
        if cell.result is None:
            continue
        cost = cell.result.cost
        shared = [cell.run_id, key, cell.spec.seed]
        model = [cost.parameters, cost.encoding_parameters, cost.item]
        trained = [cost.items_per_second, cost.peak_memory_bytes, cost.kernels]
        yield [*shared, "training", trained_extent(cell.spec) or (), "", *trained, *model]
        for part in cost.evaluations:
            measured = [part.items_per_second, part.peak_memory_bytes, part.kernels]
            yield [*shared, "evaluation", part.extent, part.extrapolation, *measured, *model]


def _frame(rows: Iterable[list[Any]], columns: list[str]) -> pandas.DataFrame:
    import pandas

    frame = pandas.DataFrame(list(rows), columns=columns)
    numbers = {"value", "items_per_second", "peak_memory_bytes", "diverged_at"} & set(columns)
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _different_data(cells: list[_Cell], groups: Mapping[str, Group]) -> list[str]:
    """Names the data that was not the same in all runs of a table."""
    seen: dict[tuple[tuple[str, ...], str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, cell in cells:
        for name, fingerprint in cell.data.items():
            seen[groups[key].table, name][fingerprint].append(cell.run_id)
    return [
        f"{' '.join(table)}: the data '{name}' was not the same in all runs, so that scores do not compare: "
        + "; ".join(f"{_abbreviated(ids)} read {digest[:12]}" for digest, ids in sorted(found.items()))
        + "."
        for (table, name), found in sorted(seen.items())
        if len(found) > 1
    ]


def _abbreviated(run_ids: list[str]) -> str:
    shown = ", ".join(run_ids[:3])
    return shown if len(run_ids) <= 3 else f"{shown} and {len(run_ids) - 3} more"
