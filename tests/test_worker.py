"""A job that is told to stop finishes its step first, and is requeued once, by its own process alone."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes.waiting import until
from specimens.tiny_sweeps import load, tiny, write
from submitit import LocalJob

from pebench.errors import UserError
from pebench.store.run_folder import RunFolder
from pebench.submission import submissions
from pebench.submission.alike import AlikeFirst
from pebench.submission.cells import STOPPED
from pebench.submission.ready import ready_first
from pebench.submission.status import statuses
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submit import submit
from pebench.submission.submitit_internals import REQUEUE_SIGNAL
from pebench.submission.worker import Worker

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
    until(lambda: not any(begun.is_carried_by(pid) for pid in begun.pids))
    assert [cell.state for cell in statuses(place / "runs", [folder.run_id])] == ["done"]
    assert "stopped at step" in folder.log.read_text()
    assert submissions.claim(begun.folder(place / "runs"), folder.run_id, 0), "it kept its cell"


BREAKING = """
import torch
from pebench.position_encoding import PositionEncoding

def fail(*arguments):
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\\nCompile with ...")

class Breaking(PositionEncoding):
    axes = frozenset({1})
    def embed(self, *arguments):
        torch.set_flush_denormal = fail  # which every run of the process begins with
        fail()
"""


def test_a_local_worker_that_has_lost_its_device_leaves_the_other_cells_to_a_fresh_process(
    place: Path,
) -> None:
    (place / "breaking.py").write_text(BREAKING)
    written = tiny(place, encodings=["none", "breaking", "rope", "alibi"], plugins=["breaking.py"])
    command = [sys.executable, "-m", "pebench", "submit", str(write(place, written)), "--cluster", "local"]
    subprocess.run(command, check=True, capture_output=True)
    (record,) = place.glob("runs/.submitit/*/submission.json")
    begun = submissions.read(record)
    until(lambda: not any(begun.is_carried_by(pid) for pid in begun.pids))
    cells = statuses(place / "runs", begun.cells)
    assert [cell.state for cell in cells] == ["done", "failed", "done", "done"]
    assert "illegal memory access" in cells[1].detail
    folders = [RunFolder(place / "runs" / cell) for cell in begun.cells]
    assert [len(folder.provenance()["attempts"]) for folder in folders] == [1, 1, 1, 1]
    (said,) = record.parent.glob("*_log.out")
    assert [line for line in said.read_text().splitlines() if line.startswith("[")] == [
        "[1/4] none, seed 0: done",
        f"[2/4] breaking, seed 0: failed, see {folders[1].log}",
        "[3/4] rope, seed 0: done",
        "[4/4] alibi, seed 0: done",
    ]
    assert ended_with(record.parent, begun.pids[0]) == "1 cells failed"


def ended_with(folder: Path, pid: int) -> object:
    """What a local worker said at its end."""
    return LocalJob(folder, str(pid)).result()


def test_a_worker_that_cannot_write_down_that_it_lost_its_device_does_not_start_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, runs = load(place, encodings=["none", "rope"]), place / "runs"
    submit(sweep, runs, "inline")
    begun = submissions.begin(runs, "local", sweep.name, sweep.record().runs)

    def fail(*arguments: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pebench.running.run.prepare_process", fail)
    monkeypatch.setattr(RunFolder, "write_failure", full)
    with pytest.raises(UserError, match="its failure could not be written down"):
        Worker()(str(begun.folder(runs)), 0, sweep.execution.model_dump_json())


def test_a_worker_of_a_submission_that_is_cancelled_begins_nothing(place: Path) -> None:
    sweep, runs = load(place), place / "runs"
    submit(sweep, runs, "inline")
    begun = submissions.begin(runs, "local", sweep.name, sweep.record().runs)
    submissions.write(runs, begun.model_copy(update={"cancelled": begun.time}))
    assert Worker()(str(begun.folder(runs)), 0, sweep.execution.model_dump_json()) == STOPPED
    assert not list(runs.glob("*/log.txt"))


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
