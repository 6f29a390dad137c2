"""Several cells in one job, each in a process of its own, so that none takes another with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pebench.running.execution import Execution
from pebench.store import RunFolder
from pebench.submission.cells import carry_out_cell
from pebench.submission.devices import devices_of
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submissions import Submission
from pebench.submission.submitit_internals import REQUEUE_SIGNAL

_LOOK_EVERY = 0.2
"""Seconds between looks at the processes."""

_SIGNALS = (REQUEUE_SIGNAL, signal.SIGTERM)


def carry_out(folders: list[RunFolder], record: Submission, execution: Execution, stop: StopOnSignal) -> int:
    """Carries out the cells of a job, as many at a time as its submission says.

    Args:
        folders: of the runs.
        record: the submission that the job belongs to.
        execution: how each run is carried out.
        stop: handed on to every process.

    Returns:
        How many cells failed.
    """
    waiting = list(folders)
    width = record.resources.width
    devices = dict(enumerate(devices_of(width)))
    free = list(devices)
    running: dict[int, tuple[RunFolder, subprocess.Popen[bytes]]] = {}
    told = False
    failed = 0
    while waiting or running:
        if stop() and not told:
            # SLURM signals every process of a step, but other senders only the one they know.
            for _, process in running.values():
                process.send_signal(REQUEUE_SIGNAL)
            waiting, told = [], True
        while waiting and free and not stop():
            folder = waiting.pop(0)
            # A job that is queued again goes on; what failed in it is for the next submit.
            if not _has_failed(folder, record.time):
                place = free.pop(0)
                running[place] = folder, _start(folder, execution, devices[place])
        for place, (folder, process) in list(running.items()):
            if process.poll() is not None:
                # A cell that is stopping may meet the same signal again, when nothing waits for it any more.
                stopped = stop() and process.returncode in (-REQUEUE_SIGNAL, -signal.SIGTERM)
                failed += not stopped and not _is_well(folder, process.returncode, record.time)
                free.append(place)
                del running[place]
        time.sleep(_LOOK_EVERY)
    return failed


def _has_failed(folder: RunFolder, since: float) -> bool:
    failure = folder.failure()
    return failure is not None and failure.time > since


def _is_well(folder: RunFolder, status: int, since: float) -> bool:
    """Whether a cell's process ended as it should; what ended it is written down if it could not do so."""
    if not status:
        return True
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    if folder.result() is None and not _has_failed(folder, since):
        folder.write_failure(f"its process {how}; the job of several cells that it was part of went on.")
    sys.stdout.write(f"{folder.run_id}: its process {how}\n")
    return False


def _start(folder: RunFolder, execution: Execution, devices: str | None) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    command = [sys.executable, "-P", "-u", "-m", __name__, str(folder.path), execution.model_dump_json()]
    with _held_back():
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


@contextmanager
def _held_back() -> Iterator[None]:
    """A process that starts in this block meets no signal before it is ready: the mask is inherited."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """For a forked child: the signals of a job are its parent's business."""
    signal.signal(REQUEUE_SIGNAL, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _main(path: str, execution: str) -> None:
    """One cell, in this process."""
    os.register_at_fork(after_in_child=ignore_signals)
    folder, how = RunFolder(Path(path)), Execution.model_validate_json(execution)
    with StopOnSignal(*_SIGNALS) as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        sys.stdout.write(f"{folder.run_id}: {carry_out_cell(folder, how, stop)}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
