"""How fast `pebench sync` mirrors finished runs, plots and files included, and what an idle pass costs.

    python benchmarks/sync.py                        # 100 and 1,000 runs into an embedded store
    python benchmarks/sync.py --runs 100 --server    # into an MLflow server on this machine

Each run has 250 lines of four metrics, as a real one logs them, and a result. Prints a table and writes
`sync.json` beside it. The pass is a process of its own: it imports MLflow, as a user's does, and the time of
that is in the figures.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from pebench import atomic
from pebench.spec import Choice, RunSpec, Training
from pebench.store import Cost, MetricRecord, Point, Result, RunFolder, Score, SweepRecord, write_sweep
from pebench.tracking.address import create_store
from pebench.tracking.server import HOST, free_port, server

_LINES = 250
_METRICS = 4
_ENCODINGS = ("none", "learned", "sinusoidal", "rope", "alibi", "t5", "kerple", "fire", "cope", "xpos")


@click.command(help=__doc__)
@click.option("--runs", "counts", type=int, multiple=True, default=(100, 1000), show_default=True)
@click.option("--server", "to_server", is_flag=True, help="Into a server, not a file.")
@click.option("--to", "output", type=click.Path(path_type=Path), default=Path("sync.json"), show_default=True)
def main(counts: tuple[int, ...], to_server: bool, output: Path) -> None:
    """Measures, prints, writes."""
    found = [measure(count, to_server) for count in counts]
    atomic.write_json(output, {"cores": os.cpu_count(), "measurements": found})
    table = Table("runs", "points", "store", "seconds", "points a second", "idle pass, seconds", "load")
    for each in found:
        table.add_row(
            f"{each['runs']:,}",
            f"{each['points']:,}",
            each["store"],
            f"{each['seconds']:.1f}",
            f"{each['points_per_second']:,.0f}",
            f"{each['idle_seconds']:.2f}",
            f"{each['load']:.1f}",
        )
    Console().print(table)


def measure(count: int, to_server: bool) -> dict[str, Any]:
    """The time of a pass over `count` new runs, and of one more."""
    with tempfile.TemporaryDirectory(prefix="pebench-benchmark-") as name:
        runs = Path(name) / "runs"
        make_runs(runs, count)
        uri = f"sqlite:///{name}/mlflow.db"
        create_store(uri)
        with _answering(runs, uri) if to_server else nullcontext(uri) as address:
            seconds, idle = _sync(runs, address), _sync(runs, address)
    points = count * _LINES * _METRICS
    return {
        "runs": count,
        "points": points,
        "store": "server" if to_server else "sqlite",
        "seconds": seconds,
        "points_per_second": points / seconds,
        "idle_seconds": idle,
        "load": os.getloadavg()[0],
    }


@contextmanager
def _answering(runs: Path, uri: str) -> Iterator[str]:
    port = free_port()
    with server(runs, uri, port):
        yield f"http://{HOST}:{port}"


def _sync(runs: Path, uri: str) -> float:
    command = [sys.executable, "-m", "pebench", "sync", "--runs", str(runs), "--to", uri]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def make_runs(runs: Path, count: int) -> None:
    """Finished runs of one sweep: the encodings one after another, then the next seed."""
    specifications = [
        RunSpec(
            encoding=Choice(name=_ENCODINGS[number % len(_ENCODINGS)]),
            task=Choice(name="language-modeling", options={"extent": 128, "evaluate": [128, 512]}),
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


if __name__ == "__main__":
    main()
