"""The runs of a sweep read back from its results, where their folders are not at hand.

The CSV files hold every score with eight digits and every specification, but no scores of single examples:
    what is computed from them has its uncertainty from seeds alone.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pebench.errors import UserError
from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.run_data import MISSING, RunData
from pebench.spec import RunSpec
from pebench.store import Cost, MetricRecord, Result, Score, SweepRecord
from pebench.text_file import read_text

ROUNDING = 1e-7
"""Of two numbers of eight digits, relative to them."""

_NEEDED = {
    "runs.csv": ("run_id", "status", "spec"),
    "scores.csv": ("run_id", "metric", "extent", "extrapolation", "value"),
    "leaderboard.csv": ("task", "metric", "unit", "better", "baseline"),
}


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
    for row in rows["scores.csv"]:
        scores[row["run_id"]].append(_score(folder, row))
    runs = [_run(folder, row, metrics, scores[row["run_id"]]) for row in rows["runs.csv"]]
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


def _run(
    folder: Path, row: dict[str, str], metrics: dict[str, dict[str, MetricRecord]], scores: list[Score]
) -> RunData:
    try:
        spec = RunSpec.model_validate_json(row["spec"])
        result = None
        if row["status"] != MISSING:
            result = Result.model_validate(
                {
                    "status": row["status"],
                    "metrics": metrics.get(spec.task.name, {}),
                    "scores": scores,
                    "cost": _NO_COST,
                }
            )
    except ValidationError as error:
        raise UserError(
            f"{folder / 'runs.csv'}, run {row['run_id']}: {error.errors()[0]['msg'].lower()}."
        ) from error
    provenance: dict[str, Any] = {}
    data = dict(part.split("=", 1) for part in row.get("data", "").split() if "=" in part)
    if data:
        provenance["data"] = data
    return RunData(row["run_id"], spec, result, provenance, row.get("failure", ""), rounding=ROUNDING)


_NO_COST = Cost(
    parameters=0,
    encoding_parameters=0,
    item="",
    items_per_second=None,
    peak_memory_bytes=None,
    kernels=(),
    evaluations=(),
)
