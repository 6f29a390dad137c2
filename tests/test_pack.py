"""Cells that share a job share nothing else: not a failure, not a folder, only the signal to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from processes.waiting import until
from specimens.tiny_sweeps import load

from pebench.store.run_folder import RunFolder
from pebench.submission import pack, submissions
from pebench.submission.resources import Resources
from pebench.submission.submit import submit
from pebench.submission.submitit_internals import REQUEUE_SIGNAL
from pebench.sweeping.sweep import Sweep

JOB = """
import sys
from pebench.submission.worker import Worker
print(Worker()(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def packed(place: Path, sweep: Sweep, pack: int, width: int | None = None) -> Path:
    """The folder of a packed submission of a sweep whose run folders are there."""
    runs = place / "runs"
    submit(sweep, runs, "inline")
    begun = submissions.begin(
        runs, "slurm", sweep.name, sweep.record().runs, Resources(pack=pack, at_once=width)
    )
    return begun.folder(runs)


@contextmanager
def job(folder: Path, number: int, sweep: Sweep) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        "-c",
        JOB,
        str(folder),
        str(number),
        sweep.execution.model_dump_json(),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def slow(place: Path, encodings: list[str], steps: int = 2000) -> Sweep:
    execution = {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1}
    return load(place, encodings=encodings, train={"steps": steps, "batch": 2}, execution=execution)


def steps_done(run: RunFolder) -> int:
    return sum(1 for _ in run.points())


def pid_of(run: RunFolder) -> int:
    worker = run.worker()
    assert worker is not None
    return worker.pid


@pytest.mark.parametrize("width", [1, 2], ids=["one-after-another", "side-by-side"])
def test_a_job_carries_out_its_own_cells(place: Path, width: int) -> None:
    sweep = load(place, encodings=["none", "rope", "alibi"])
    folder = packed(place, sweep, 2, width)
    with job(folder, 0, sweep) as process:
        told, _ = process.communicate(timeout=120)
    assert told.endswith("done\n")
    done = [(place / "runs" / run / "result.json").exists() for run in sweep.record().runs]
    assert done == [True, True, False]
    first, second, _ = (RunFolder(place / "runs" / run) for run in sweep.record().runs)
    assert (pid_of(first) == pid_of(second)) == (width == 1), "a process carries out one after another"


def test_neither_a_failure_nor_a_death_touches_the_other_cells(place: Path) -> None:
    sweep = slow(place, ["none", "rope", "alibi"], steps=400)
    folder = packed(place, sweep, 3)
    failing, dying, sound = (RunFolder(place / "runs" / run) for run in sweep.record().runs)
    failing.metrics.mkdir()
    with job(folder, 0, sweep) as process:
        until(lambda: dying.metrics.exists())
        os.kill(pid_of(dying), signal.SIGKILL)
        told, _ = process.communicate(timeout=120)
    assert told.endswith("2 cells failed\n")
    assert sound.result() is not None
    failure, death = failing.failure(), dying.failure()
    assert failure is not None
    assert "metrics.jsonl" in failure.message
    assert death is not None
    assert (
        death.message
        == "its process was ended by SIGKILL; the job of several cells that it was part of went on."
    )
    # A job that is queued again leaves to the next submit what failed in it.
    failing.metrics.rmdir()
    with job(folder, 0, sweep) as process:
        told, _ = process.communicate(timeout=120)
    assert told.endswith("done\n")
    assert failing.result() is None


def test_an_idle_process_that_is_gone_takes_no_cell_with_it(place: Path) -> None:
    sweep = slow(place, ["none", "rope"], steps=3)
    submit(sweep, place / "runs", "inline")
    folders = [RunFolder(place / "runs" / run) for run in sweep.record().runs]
    own = pack._Place(sweep.execution, None)
    for folder in folders:
        own.begin(folder)
        until(lambda: own.ended() is not None)
        os.kill(pid_of(folder), signal.SIGKILL)
        gone = psutil.Process(pid_of(folder))
        until(partial(lambda process: process.status() == psutil.STATUS_ZOMBIE, gone))
    own.close()
    assert all(folder.result() is not None for folder in folders)


def test_one_signal_stops_every_cell_at_a_checkpoint(place: Path) -> None:
    sweep = slow(place, ["none", "rope", "alibi"])
    folder = packed(place, sweep, 3, 2)
    first, second, third = (RunFolder(place / "runs" / run) for run in sweep.record().runs)
    with job(folder, 0, sweep) as process:
        until(lambda: steps_done(first) > 5 and steps_done(second) > 5)
        process.send_signal(REQUEUE_SIGNAL)
        told, _ = process.communicate(timeout=60)
    assert told.endswith("stopped\n")
    for run in (first, second):
        assert "checkpoint saved" in run.log.read_text()
        state = json.loads(max(run.checkpoint.glob("step-*/state.json")).read_text())
        assert 5 < state["step"] < 2000
    assert not third.log.exists(), "and nothing new begins"


def test_a_signal_at_the_very_start_is_not_lost(place: Path) -> None:
    sweep = slow(place, ["none"])
    folder = packed(place, sweep, 2)
    with job(folder, 0, sweep) as process:
        # Before torch is imported, and so before a cell can have said anything.
        until(lambda: bool(children(process.pid)))
        process.send_signal(REQUEUE_SIGNAL)
        os.kill(children(process.pid)[0], REQUEUE_SIGNAL)
        told, errors = process.communicate(timeout=60)
    assert told.endswith("stopped\n"), errors


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
