"""A job that is told to stop finishes its step first, and is requeued once, by its own process alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes.waiting import until
from specimens.tiny_sweeps import load, tiny, write

from pebench.store.run_folder import RunFolder
from pebench.submission import submissions
from pebench.submission.alike import AlikeFirst
from pebench.submission.liveness import process_exists
from pebench.submission.ready import ready_first
from pebench.submission.status import statuses
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submitit_internals import REQUEUE_SIGNAL

REQUEUE = """
import os, signal, subprocess, sys
from pebench.submission import worker

def handler(number, frame):
    print("handed on", flush=True)
    raise subprocess.CalledProcessError(int(sys.argv[1]), "scontrol")

def work(stop):
    os.kill(os.getpid(), worker.REQUEUE_SIGNAL)
    return f"stopping: {stop()}"

signal.signal(worker.REQUEUE_SIGNAL, handler)
print(worker.interruptible(work))
"""

FORK = """
import os, signal, time
from pebench.submission import worker

def work(stop):
    child = os.fork()
    if not child:
        os.kill(os.getpid(), worker.REQUEUE_SIGNAL)
        os._exit(7 if stop() else 0)
    return f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])} {stop()}"

signal.signal(worker.REQUEUE_SIGNAL, signal.SIG_DFL)
print(worker.interruptible(work))
"""


def test_the_first_signal_is_kept_and_handed_on() -> None:
    heard: list[int] = []
    before = signal.signal(REQUEUE_SIGNAL, lambda number, frame: heard.append(number))
    try:
        with StopOnSignal(REQUEUE_SIGNAL, signal.SIGTERM) as stop:
            assert not stop()
            signal.raise_signal(REQUEUE_SIGNAL)
            signal.raise_signal(signal.SIGTERM)
            assert (stop(), stop.caught, heard) == (True, REQUEUE_SIGNAL, [])
            stop.hand_on()
        assert heard == [REQUEUE_SIGNAL]
        signal.raise_signal(REQUEUE_SIGNAL)
        assert len(heard) == 2, "the handler of before is back"
    finally:
        signal.signal(REQUEUE_SIGNAL, before)


@pytest.mark.parametrize(("status", "ends"), [("-15", 0), ("1", 1)])
def test_a_requeue_that_kills_its_own_command_has_been_heard(status: str, ends: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REQUEUE, status], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("handed on\n")
    assert done.returncode == ends
    assert ("stopping: True" in done.stdout) == (ends == 0)


def test_what_a_killed_attempt_left_in_the_way_stops_no_requeue(tmp_path: Path) -> None:
    job = {"SUBMITIT_FOLDER": str(tmp_path), "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "5"}
    part = tmp_path / "5_submitted.pkl.save_tmp"
    part.touch()
    done = subprocess.run(
        [sys.executable, "-c", REQUEUE, "-15"],
        env={**os.environ, **job},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("handed on\n")
    assert not part.exists()


def test_a_forked_child_leaves_the_signal_to_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    assert done.stdout == "0 False\n"


def test_a_local_worker_that_is_told_to_requeue_goes_on_where_it_was(place: Path) -> None:
    execution = {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1}
    train = {"steps": 150, "batch": 2}
    path = write(place, tiny(place, encodings=["rope"], train=train, execution=execution))
    command = [sys.executable, "-m", "pebench", "submit", str(path), "--cluster", "local"]
    subprocess.run(command, check=True, capture_output=True)
    (record,) = place.glob("runs/.submitit/*/submission.json")
    begun = submissions.read(record)
    folder = RunFolder(place / "runs" / begun.cells[0])
    until(lambda: sum(1 for _ in folder.points()) > 20)
    worker = folder.worker()
    assert worker is not None
    os.kill(worker.pid, REQUEUE_SIGNAL)
    until(lambda: not any(process_exists(pid, begun.time) for pid in begun.pids))
    assert [cell.state for cell in statuses(place / "runs", [folder.run_id])] == ["done"]
    assert "stopped at step" in folder.log.read_text()
    assert submissions.claim(begun.folder(place / "runs"), folder.run_id, 0), "it kept its cell"


def test_workers_that_compile_take_cells_that_differ_in_the_seed_alone_before_others(tmp_path: Path) -> None:
    sweep = load(tmp_path, encodings=["rope", "alibi"], seeds=3)
    runs, folder = tmp_path / "runs", tmp_path / "submission"
    folder.mkdir()
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, {})
    cells = [spec.run_id for spec in sweep.cells]
    alike = [AlikeFirst(runs, folder) for _ in range(2)]
    orders = [ready_first(runs, cells, lambda: False, ranking=worker.rank) for worker in alike]
    taken: dict[int, list[tuple[str, int]]] = {0: [], 1: []}
    # The first worker is at its third cell before the other is at its second.
    for number in (0, 1, 0, 0, 0):
        cell = next(orders[number])
        while not submissions.claim(folder, cell, number):
            cell = next(orders[number])
        alike[number].took(cell)
        spec = RunFolder(runs / cell).spec()
        taken[number].append((spec.encoding.name, spec.seed))
    assert taken[0] == [("rope", 0), ("rope", 1), ("rope", 2), ("alibi", 1)]
    assert taken[1] == [("alibi", 0)]
