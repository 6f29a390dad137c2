"""SLURM: submitting 1,000 cells and asking for their status, what a job adds, what a preemption costs.

It submits to the SLURM of this machine, to --partition or to its default; one job runs at a time. Every
command is a process of its own, so the time of its imports is in the figures. The 1,000 cells are held in the
queue and cancelled. Beside each command of pebench stands the nearest that SLURM itself offers:

- an array of as many empty jobs;
- `squeue`;
- the same training without a job;
- the same job undisturbed.

How soon a job that was preempted may begin again is for the cluster to say (`cred_expire`, 120 seconds by
default); that time is in the figure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring.alternation import WALL, Row, compared
from measuring.reporting import Arguments, positive, report

from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.submission.status import statuses
from pebench.submission.submit import submit
from pebench.sweeping.sweep import load_sweep

BASELINE = "by hand"

_ENCODINGS = ("none", "learned", "sinusoidal", "rope", "alibi", "t5", "kerple", "fire", "cope", "xpos")
_PEBENCH = (sys.executable, "-m", "pebench")
_BARE = """
import sys; from pathlib import Path
from pebench.running.execution import Execution
from pebench.running.run import execute; from pebench.store.run_folder import RunFolder
execute(RunFolder(Path(sys.argv[1])), Execution(device="cpu", threads=1))
"""
_LOOK_EVERY = 0.1


def measure(place: Path, cells: int, steps: int, partition: str | None, rounds: int) -> list[Row]:
    """Rows of every comparison, in a folder that all nodes see."""
    chosen = ["--partition", partition] if partition else []
    rows = _queue(place, cells, chosen, rounds)
    bare, job, preempted = [], [], []
    for number in range(rounds):
        bare.append(_bare(_sweep(place, f"bare-{number}", 1, steps)))
        job.append(_job(_sweep(place, f"job-{number}", 1, steps), chosen))
        preempted.append(_job(_sweep(place, f"preempted-{number}", 1, steps), chosen, preempt=True))
    one = {"what": f"one cell of {steps} steps", "cells": 1}
    rows += [compared(BASELINE, one, bare, bare), compared("a job", one, job, bare)]
    again = {"what": "a job, preempted once", "cells": 1}
    return [*rows, compared(BASELINE, again, job, job), compared("preempted", again, preempted, job)]


def _queue(place: Path, cells: int, chosen: list[str], rounds: int) -> list[Row]:
    times: dict[str, list[float]] = {"sbatch": [], "submit": [], "again": [], "squeue": [], "status": []}
    for number in range(rounds):
        path = _sweep(place, f"many-{number}", cells, 100)
        array = ["sbatch", "--begin=now+1hour", f"--array=0-{cells - 1}", "--output=/dev/null", *chosen]
        array += [f"--job-name=by-hand-{number}", "--wrap", "true"]
        times["sbatch"].append(_seconds(array, place))
        held = ["--cluster", "slurm", "--slurm", "begin=now+1hour", *chosen]
        submitting = [*_PEBENCH, "submit", str(path), *held]
        times["submit"].append(_seconds(submitting, path.parent))
        times["squeue"].append(_seconds(["squeue", "--array", f"--name=by-hand-{number}"], place))
        times["status"].append(_seconds([*_PEBENCH, "status", path.stem], path.parent))
        times["again"].append(_seconds(submitting, path.parent))
        _seconds([*_PEBENCH, "cancel", path.stem], path.parent)
        _seconds(["scancel", f"--name=by-hand-{number}"], place)
    queueing, asking = {"what": "submit", "cells": cells}, {"what": "status", "cells": cells}
    return [
        compared(BASELINE, queueing, times["sbatch"], times["sbatch"]),
        compared("pebench submit", queueing, times["submit"], times["sbatch"]),
        compared("pebench submit, again", queueing, times["again"], times["sbatch"]),
        compared(BASELINE, asking, times["squeue"], times["squeue"]),
        compared("pebench status", asking, times["status"], times["squeue"]),
    ]


def _sweep(place: Path, name: str, cells: int, steps: int) -> Path:
    """The file of a sweep of so many cells that train quickly, in a folder of its own."""
    folder = place / name
    folder.mkdir()
    (folder / "text.txt").write_text("".join(f"This is line {n} of {n * n}.\n" for n in range(2000)), "utf-8")
    data = {"data": str(folder / "text.txt"), "extent": 16, "evaluate": [16], "tokens": 128}
    encodings = _ENCODINGS[: min(cells, len(_ENCODINGS))]
    written: dict[str, Any] = {
        "name": name,
        "encodings": list(encodings),
        "tasks": [{"language-modeling": data}],
        "seeds": cells // len(encodings),
        "model": {"width": 16, "heads": 2, "layers": 1},
        "train": {"steps": steps, "batch": 2},
        "execution": {"device": "cpu", "threads": 1},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(written), "utf-8")
    return path


def _bare(path: Path) -> float:
    runs = path.parent / "runs"
    (run_id,) = submit(load_sweep(path), runs, "inline").started
    return _seconds([sys.executable, "-c", _BARE, str(runs / run_id)], path.parent)


def _job(path: Path, chosen: list[str], preempt: bool = False) -> float:
    """Seconds from the command to the result."""
    began = time.perf_counter()
    subprocess.run(
        [*_PEBENCH, "submit", str(path), "--cluster", "slurm", "--time", "30", *chosen],
        check=True,
        cwd=path.parent,
        stdout=subprocess.DEVNULL,
    )
    runs = path.parent / "runs"
    folder = RunFolder(runs / read_sweeps(runs)[0].runs[0])
    if preempt:
        _wait(lambda: folder.metrics.exists())
        (cell,) = statuses(runs, [folder.run_id])
        if cell.job is None:
            sys.exit("pebench: the cell had ended before it could be preempted: raise --steps.")
        subprocess.run(["scancel", "--signal=USR2", str(cell.job)], check=True)
    _wait((folder.path / "result.json").exists)
    return time.perf_counter() - began


def _wait(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(_LOOK_EVERY)


def _seconds(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measures, prints, writes."""
    parser = Arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--cells", type=positive, default=1000, help="of the large sweep; a multiple of 10")
    parser.add_argument("--steps", type=positive, default=2000, help="of the cell that runs")
    parser.add_argument("--partition", help="of SLURM")
    parser.add_argument("--folder", type=Path, default=Path(), help="that all nodes see")
    arguments = parser.parse_args()
    if shutil.which("sbatch") is None:
        sys.exit("pebench: there is no SLURM on this machine ('sbatch' is not in the PATH).")
    # Jobs never open the tracking store, and to make one is no part of what is measured.
    os.environ["PEBENCH_TRACKING_URI"] = "http://127.0.0.1:9"
    where = arguments.folder.absolute()
    # A job that has written its result may still write as it leaves.
    with tempfile.TemporaryDirectory(prefix="pebench-", dir=where, ignore_cleanup_errors=True) as name:
        rows = measure(Path(name), arguments.cells, arguments.steps, arguments.partition, arguments.rounds)
    report("SLURM", BASELINE, rows, arguments.output, clock=WALL)


if __name__ == "__main__":
    main()
