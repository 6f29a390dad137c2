"""The runs of a sweep as long frames: one row a cell, a score, an evaluation's cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pebench.errors import UserError
from pebench.scores import default_extrapolation, trained_extent
from pebench.settings import settings
from pebench.spec import RunSpec
from pebench.store import MetricRecord, Result, RunFolder, SweepRecord

if TYPE_CHECKING:
    import pandas

MISSING = "missing"
"""The status of a cell without a result; the others are those of `pebench.store.Result`."""


@dataclass(frozen=True)
class Group:
    """Cells that differ in nothing but the seed: a row of a table.

    Attributes:
        key: see `pebench.spec.RunSpec.group`.
        task: its name. encoding: its label.
        settings: the values of the settings, beside the encoding, in which groups of this task differ.
        trained: the trained extent, None where the task has none.
        default: the encoding's default extrapolation, None while no run has finished.
    """

    key: str
    task: str
    encoding: str
    settings: Mapping[str, str]
    trained: tuple[int, ...] | None
    default: str | None

    @property
    def table(self) -> tuple[str, ...]:
        """What its table is called: the task, and the task's options in which tables differ."""
        options = (f"{name.rpartition('.')[2]}={v}" for name, v in self.settings.items() if _of_task(name))
        return (self.task, *options)

    @property
    def label(self) -> str:
        """What its row is called."""
        others = [f"{name}={value}" for name, value in self.settings.items() if not _of_task(name)]
        return f"{self.encoding} [{', '.join(others)}]" if others else self.encoding


@dataclass(frozen=True)
class Collection:
    """All that the tables and plots of a sweep are made from.

    Attributes:
        sweep: its name.
        groups: by key, in the order of tables and rows.
        columns: the names of the settings in which groups differ.
        metrics: how each metric is read, the headline first, by task.
        cells: run_id, group, seed, status, diverged_at.
        scores: run_id, group, seed, metric, extent, extrapolation, value.
        costs: run_id, group, seed, phase, extent, extrapolation, items_per_second, peak_memory_bytes,
            kernels, parameters, encoding_parameters, item.
        warnings: sentences about what makes the numbers incomparable.
    """

    sweep: str
    groups: dict[str, Group]
    columns: tuple[str, ...]
    metrics: dict[str, dict[str, MetricRecord]]
    cells: pandas.DataFrame
    scores: pandas.DataFrame
    costs: pandas.DataFrame
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    run_id: str
    group: str
    spec: RunSpec
    result: Result | None
    data: dict[str, str]


def collect(runs: Path, sweep: SweepRecord) -> Collection:
    """Reads every run of a sweep.

    Args:
        runs: the folder of runs. sweep: which of them.

    Raises:
        UserError: a cell has no folder, or a file in it cannot be read.
    """
    cells = sorted(
        (_read(runs, run_id, sweep.name) for run_id in sweep.runs),
        key=lambda cell: (cell.group, cell.spec.seed, cell.run_id),
    )
    groups, columns = _groups(cells)
    metrics: dict[str, dict[str, MetricRecord]] = defaultdict(dict)
    for cell in cells:
        if cell.result is not None:
            metrics[cell.spec.task.name].update(cell.result.metrics)
    return Collection(
        sweep=sweep.name,
        groups=groups,
        columns=columns,
        metrics=dict(metrics),
        cells=_frame(_cell_rows(cells), ["run_id", "group", "seed", "status", "diverged_at"]),
        scores=_frame(_score_rows(cells), [*_SHARED, "metric", *_PLACE, "value"]),
        costs=_frame(_cost_rows(cells), [*_SHARED, "phase", *_PLACE, *_COSTS]),
        warnings=tuple(_warnings(cells, groups)),
    )


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


def _read(runs: Path, run_id: str, sweep: str) -> _Cell:
    folder = RunFolder(runs / run_id)
    if not (folder.path / "spec.json").exists():
        raise UserError(f"run {run_id} of sweep '{sweep}' has no folder in '{runs}': submit the sweep again.")
    spec = folder.spec()
    data = folder.provenance().get("data")
    fingerprints = {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}
    return _Cell(run_id, spec.group, spec, folder.result(), fingerprints)


def _groups(cells: list[_Cell]) -> tuple[dict[str, Group], tuple[str, ...]]:
    first: dict[str, _Cell] = {}
    defaults: dict[str, str] = {}
    for cell in cells:
        first.setdefault(cell.group, cell)
        default = default_extrapolation(cell.result) if cell.result is not None else None
        if default is not None:
            defaults.setdefault(cell.group, default)
    varied = _varied(first)
    groups = [
        Group(
            key=key,
            task=cell.spec.task.name,
            encoding=_encoding(cell.spec),
            settings=varied[key],
            trained=trained_extent(cell.spec),
            default=defaults.get(key),
        )
        for key, cell in first.items()
    ]
    groups.sort(key=lambda group: (group.table, group.label, group.key))
    columns = sorted({name for group in groups for name in group.settings})
    return {group.key: group for group in groups}, tuple(columns)


def _varied(first: Mapping[str, _Cell]) -> dict[str, dict[str, str]]:
    """The settings in which the groups of a task differ, by group.

    Rows that would still have one name, such as two versions of an encoding, are told apart by their groups.
    """
    flat = {key: _comparable(cell.spec) for key, cell in first.items()}
    varied: dict[str, dict[str, str]] = {}
    for task in {cell.spec.task.name for cell in first.values()}:
        members = [key for key, cell in first.items() if cell.spec.task.name == task]
        names = sorted({name for key in members for name in flat[key]})
        differing = [name for name in names if len({flat[key].get(name, "") for key in members}) > 1]
        for key in members:
            varied[key] = {name: flat[key].get(name, "") for name in differing}
    taken = Counter(_name(cell, varied[key]) for key, cell in first.items())
    for key, cell in first.items():
        if taken[_name(cell, varied[key])] > 1:
            varied[key] = {**varied[key], "group": key}
    return varied


def _name(cell: _Cell, varied: Mapping[str, str]) -> tuple[str, ...]:
    return (cell.spec.task.name, _encoding(cell.spec), *varied.values())


def _comparable(spec: RunSpec) -> dict[str, str]:
    """The settings that groups are told apart by beside the encoding, which has a column of its own."""
    return {
        name: value
        for name, value in settings(spec).items()
        if not name.startswith(("encoding.", "plugins.")) and name not in ("seed", "task.name", "task.label")
    }


def _encoding(spec: RunSpec) -> str:
    return spec.encoding.label or spec.encoding.name


def _of_task(name: str) -> bool:
    return name.startswith("task.")


def _cell_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for cell in cells:
        status = cell.result.status if cell.result is not None else MISSING
        diverged_at = cell.result.diverged_at if cell.result is not None else None
        yield [cell.run_id, cell.group, cell.spec.seed, status, diverged_at]


def _score_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for cell in cells:
        for score in cell.result.scores if cell.result is not None else ():
            place = [score.metric, score.extent, score.extrapolation]
            yield [cell.run_id, cell.group, cell.spec.seed, *place, score.value]


def _cost_rows(cells: Iterable[_Cell]) -> Iterable[list[Any]]:
    for cell in cells:
        if cell.result is None:
            continue
        cost = cell.result.cost
        shared = [cell.run_id, cell.group, cell.spec.seed]
        model = [cost.parameters, cost.encoding_parameters, cost.item]
        trained = [cost.items_per_second, cost.peak_memory_bytes, cost.kernels]
        yield [*shared, "training", trained_extent(cell.spec) or (), "", *trained, *model]
        for part in cost.evaluations:
            measured = [part.items_per_second, part.peak_memory_bytes, part.kernels]
            yield [*shared, "evaluation", part.extent, part.extrapolation, *measured, *model]


def _frame(rows: Iterable[list[Any]], columns: list[str]) -> pandas.DataFrame:
    import pandas

    frame = pandas.DataFrame(list(rows), columns=columns)
    numbers = {"value", "items_per_second", "peak_memory_bytes"} & set(columns)
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _warnings(cells: list[_Cell], groups: Mapping[str, Group]) -> list[str]:
    """Names the data that was not the same in all runs of a table."""
    seen: dict[tuple[tuple[str, ...], str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for name, fingerprint in cell.data.items():
            seen[groups[cell.group].table, name][fingerprint].append(cell.run_id)
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
