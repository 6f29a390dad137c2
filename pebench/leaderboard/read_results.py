"""The runs of a sweep read back from its results, where their folders are not at hand.

The CSV files hold every score with eight digits, every specification and where each run comes from. They hold
no scores of single examples, so that what is computed from them has its uncertainty from seeds alone, and no
losses in training; costs are the means over the seeds.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pebench.errors import UserError
from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.columns import COSTS
from pebench.leaderboard.run_data import MISSING, RunData
from pebench.machine.environment import from_text
from pebench.notation.text_file import read_text
from pebench.plugins.registry import tasks
from pebench.specification.run_spec import RunSpec
from pebench.store.records import Cost, EvaluationCost, MetricRecord, Result, Score
from pebench.store.sweep_records import SweepRecord

ROUNDING = 1e-7
"""Of two numbers of eight digits, relative to them."""

_NEEDED = {
    "runs.csv": ("run_id", "status", "spec"),
    "scores.csv": ("run_id", "metric", "extent", "extrapolation", "value"),
    "leaderboard.csv": ("task", "metric", "unit", "better", "baseline"),
}


MADE_OF = ("runs.csv", "scores.csv", "costs.csv")
"""Files that say all that is known of the runs; what else `pebench leaderboard` writes is made of it."""


def from_results(folder: Path) -> Collection:
    """The runs behind the results in a folder.

    Args:
        folder: of one sweep, as `pebench leaderboard` writes it.

    Raises:
        UserError: a file is missing or is none that `pebench leaderboard` writes.
    """
    rows = {name: _rows(folder / name, columns) for name, columns in _NEEDED.items()}
    metrics: dict[str, dict[str, MetricRecord]] = defaultdict(dict)
    for row in rows["leaderboard.csv"]:
        if row["metric"]:
            metrics[row["task"]][row["metric"]] = MetricRecord(
                unit=row["unit"], higher_is_better=row["better"] == "higher"
            )
    scores: dict[str, list[Score]] = defaultdict(list)
    labels: dict[str, _Label] = {}
    for row in rows["scores.csv"]:
        scores[row["run_id"]].append(_score(folder, row))
        labels[row["run_id"]] = _label(row)
    specs = {row["run_id"]: _spec(folder, row) for row in rows["runs.csv"]}
    # A run that diverged has no scores, and the costs of its seeds' group.
    groups = {specs[run_id].group: label for run_id, label in labels.items() if run_id in specs}
    costs = _costs(folder)
    runs = []
    for row in rows["runs.csv"]:
        spec = specs[row["run_id"]]
        cost = costs.get(groups.get(spec.group, ()), _NO_COST)
        runs.append(_run(row, spec, metrics.get(spec.task.name, {}), scores[row["run_id"]], cost))
    baseline = next((row["baseline"] for row in rows["leaderboard.csv"] if row["baseline"]), None)
    record = SweepRecord(
        name=folder.name, source="", runs=tuple(run.run_id for run in runs), baseline=baseline
    )
    return collect(record, runs)


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}': 'pebench leaderboard' writes one that has.")
    return [{name: value or "" for name, value in row.items() if name is not None} for row in reader]


def _score(folder: Path, row: dict[str, str]) -> Score:
    try:
        value = float(row["value"]) if row["value"] else math.nan
        extent = tuple(int(size) for size in row["extent"].split("x"))
        return Score(
            metric=row["metric"],
            extent=extent,
            extrapolation=row["extrapolation"],
            value=value if math.isfinite(value) else None,
        )
    except ValueError as error:
        raise UserError(f"{folder / 'scores.csv'} holds what is no score: {error}.") from error


def _spec(folder: Path, row: Mapping[str, str]) -> RunSpec:
    try:
        return RunSpec.model_validate_json(row["spec"])
    except ValidationError as error:
        raise UserError(
            f"{folder / 'runs.csv'}, run {row['run_id']}: {error.errors()[0]['msg'].lower()}."
        ) from error


def _run(
    row: Mapping[str, str],
    spec: RunSpec,
    metrics: dict[str, MetricRecord],
    scores: list[Score],
    cost: Cost,
) -> RunData:
    result = None
    if row["status"] != MISSING:
        result = Result(
            status="diverged" if row["status"] == "diverged" else "done",
            extent_unit=_extent_unit(spec),
            metrics=metrics,
            scores=tuple(scores),
            cost=cost,
        )
    return RunData(row["run_id"], spec, result, _provenance(row), row.get("failure", ""), rounding=ROUNDING)


def _extent_unit(spec: RunSpec) -> str:
    """What the extents of a run count, which its task says."""
    from pebench.resolve import build_task

    return build_task(spec).extent_unit if spec.task.name in tasks.origins() else "positions"


def _provenance(row: Mapping[str, str]) -> dict[str, Any]:
    """Where a run comes from, as far as `runs.csv` says."""
    known = from_text(row)
    for name in ("packages", "data"):
        values = dict(part.split("=", 1) for part in row.get(name, "").split() if "=" in part)
        if values:
            known[name] = values
    return known


_Label = tuple[tuple[str, str], ...]
"""What a row of scores or costs is of: task, encoding and the settings in which rows differ."""

_MEASURED = ("seed", "metric", "extent", "extrapolation", "value", "run_id", "phase", *COSTS)
"""The other columns of both files."""


def _label(row: Mapping[str, str]) -> _Label:
    return tuple((name, value) for name, value in row.items() if name not in _MEASURED)


def _costs(folder: Path) -> dict[_Label, Cost]:
    """The mean costs of each row; none where there is no file of them."""
    path = folder / "costs.csv"
    found: dict[_Label, list[dict[str, str]]] = defaultdict(list)
    if path.exists():
        for row in _rows(path, ("phase", "extent", "extrapolation", *COSTS)):
            found[_label(row)].append(row)
    try:
        return {label: _cost(rows) for label, rows in found.items()}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} holds what is no cost: {error}.") from error


def _cost(rows: list[dict[str, str]]) -> Cost:
    by_phase: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_phase[row["phase"]].append(row)
    training = by_phase["training"][0]
    return Cost(
        parameters=round(float(training["parameters"])),
        encoding_parameters=round(float(training["encoding_parameters"])),
        item=training["item"],
        **_spent(training),
        evaluations=tuple(
            EvaluationCost(
                extent=tuple(int(size) for size in row["extent"].split("x")),
                extrapolation=row["extrapolation"],
                **_spent(row),
            )
            for row in by_phase["evaluation"]
        ),
    )


def _spent(row: Mapping[str, str]) -> dict[str, Any]:
    rate, memory = row["items_per_second"], row["peak_memory_bytes"]
    return {
        "items_per_second": float(rate) if rate else None,
        "peak_memory_bytes": int(memory) if memory else None,
        "kernels": tuple(kernel for kernel in row["kernels"].split(", ") if kernel),
    }


def known_to_runs_alone(folder: Path) -> list[str]:
    """What the results in a folder hold that cannot be made from their CSV files, in words.

    Args:
        folder: of one sweep, as `pebench leaderboard` writes it.
    """
    found = [words for name, words in _ALONE.items() if (folder / name).exists()]
    rows = _rows(folder / "leaderboard.csv", _NEEDED["leaderboard.csv"])
    # Of one seed there is no share, but a note of what the choice of documents may move.
    if any(row.get("text_share") or row.get("measured_on") for row in rows):
        found.append("scores by document")
    return found


_ALONE = {"tuning.csv": "what was chosen by trials", "curves.csv": "scores during training"}


_NO_COST = Cost(
    parameters=0,
    encoding_parameters=0,
    item="",
    items_per_second=None,
    peak_memory_bytes=None,
    kernels=(),
    evaluations=(),
)
