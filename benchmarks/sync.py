"""Mirroring: how long `pebench sync` takes over finished runs, and what an idle pass costs.

Each run has 250 lines of four metrics, as a real one logs them, and a result. A pass mirrors plots and files
too. Every pass is a process of its own and imports MLflow, as a user's does, so the time of that is in the
figures.

The baseline, written as one would by hand, sends the same metrics with `MlflowClient.log_batch`, a run at a
time and no files.

--server measures against an MLflow server on this machine; by default the store is an embedded one.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from measuring.alternation import WALL, Row, compared
from measuring.processes import Spent, spent
from measuring.reporting import Arguments, positive, report

from pebench.specification.run_spec import PluginConfig, RunSpec, Training
from pebench.store.records import Cost, MetricRecord, Point, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, write_sweep
from pebench.tracking.mlflow_internals import create_store
from pebench.tracking.server import HOST, listening, server

BASELINE = "log_batch by hand"

BY_HAND = """
import json, pathlib, sys
from mlflow import MlflowClient
from mlflow.entities import Metric
client = MlflowClient(sys.argv[2])
experiment = client.create_experiment("by hand")
for folder in sorted(pathlib.Path(sys.argv[1]).glob("*/metrics.jsonl")):
    run = client.create_run(experiment).info.run_id
    points = [json.loads(line) for line in folder.read_text().splitlines()]
    values = [
        Metric(name, value, int(1000 * point["time"]), point["step"])
        for point in points for name, value in point["values"].items()
    ]
    for start in range(0, len(values), 1000):
        client.log_batch(run, values[start : start + 1000])
    client.set_terminated(run)
"""
"""The baseline as a program."""

_LINES = 250
_METRICS = 4
_ENCODINGS = ("none", "learned", "sinusoidal", "rope", "alibi", "t5", "kerple", "fire", "cope", "xpos")


def measure(count: int, to_server: bool, rounds: int) -> list[Row]:
    """Rows of the baseline, of a pass over new runs, and of one more pass that finds nothing new."""
    found: dict[str, list[Spent]] = {BASELINE: [], "pebench sync": [], "pebench sync, idle": []}
    with tempfile.TemporaryDirectory(prefix="pebench-benchmark-") as name:
        runs = Path(name) / "runs"
        make_runs(runs, count)
        for number in range(rounds):
            with _store(runs, Path(name), f"by-hand-{number}", to_server) as address:
                found[BASELINE].append(spent([sys.executable, "-c", BY_HAND, str(runs), address]))
            with _store(runs, Path(name), f"sync-{number}", to_server) as address:
                command = [sys.executable, "-m", "pebench", "sync", "--runs", str(runs), "--to", address]
                found["pebench sync"].append(spent(command))
                found["pebench sync, idle"].append(spent(command))
    points = count * _LINES * _METRICS
    setting = {"runs": count, "points": points, "store": "server" if to_server else "embedded"}
    base = [each.seconds for each in found[BASELINE]]
    rows = []
    for name, own in found.items():
        row = compared(name, setting, [each.seconds for each in own], base)
        more: dict[str, float | str | None] = {
            "points/s": None if name.endswith("idle") else points / row.seconds,
            "processor s": median(each.processor for each in own),
            "peak MiB": median(each.peak_bytes for each in own) / 2**20,
        }
        rows.append(replace(row, more=more))
    return rows


@contextmanager
def _store(runs: Path, folder: Path, name: str, to_server: bool) -> Iterator[str]:
    """The address of an empty store."""
    uri = f"sqlite:///{folder}/{name}.db"
    create_store(uri)
    if not to_server:
        yield uri
        return
    with server(runs, uri, listening(None)) as pages:
        # MLflow's clients send it as a bearer token.
        os.environ["MLFLOW_TRACKING_TOKEN"] = pages.token
        try:
            yield f"http://{HOST}:{pages.port}"
        finally:
            del os.environ["MLFLOW_TRACKING_TOKEN"]


def make_runs(runs: Path, count: int) -> None:
    """Finished runs of one sweep: the encodings one after another, then the next seed."""
    specifications = [
        RunSpec(
            encoding=PluginConfig(name=_ENCODINGS[number % len(_ENCODINGS)]),
            task=PluginConfig(name="language-modeling", options={"extent": 128, "evaluate": [128, 512]}),
            model={"size": "tiny"},
            train=Training(steps=10 * _LINES),
            seed=number // len(_ENCODINGS),
        )
        for number in range(count)
    ]
    for specification in specifications:
        _make_run(RunFolder(runs / specification.run_id), specification)
    write_sweep(runs, SweepRecord(name="many", source="", runs=tuple(s.run_id for s in specifications)))


def _make_run(folder: RunFolder, specification: RunSpec) -> None:
    folder.create(specification, {})
    folder.write_provenance({"commit": "0123abc", "dirty": False, "device": "cpu"})
    folder.metrics.write_text(
        "".join(f"{_point(number).model_dump_json()}\n" for number in range(1, _LINES + 1))
    )
    folder.log.write_text("a line of the log\n" * 50)
    folder.write_result(
        Result(
            status="done",
            metrics={"bits-per-byte": MetricRecord(unit="bits/byte", higher_is_better=False)},
            scores=tuple(
                Score(metric="bits-per-byte", extent=(extent,), extrapolation="extend", value=2.5)
                for extent in (128, 512)
            ),
            cost=Cost(
                parameters=1,
                encoding_parameters=0,
                item="tokens",
                items_per_second=1000.0,
                peak_memory_bytes=None,
                kernels=("fused",),
                evaluations=(),
            ),
        )
    )


def _point(number: int) -> Point:
    values = {
        "train/loss": 5.0 - math.log(number) / 3,
        "train/gradient-norm": 0.1 + 1 / number,
        "train/learning-rate": 1e-3 * (1 - number / _LINES),
        "train/tokens-per-second": 1000.0 + number,
    }
    return Point(step=10 * number, items=20480 * number, time=1.7e9 + number, values=dict(values))


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("--runs", type=positive, nargs="+", default=[10, 100])
    parser.add_argument("--server", action="store_true", help="into a server, not a file")
    parser.set_defaults(rounds=3)
    chosen = parser.parse_args()
    rows = (row for count in chosen.runs for row in measure(count, chosen.server, chosen.rounds))
    report("Mirroring by number of runs", BASELINE, rows, chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
