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

from submitit.core.utils import DelayedSubmission

from pebench.store import RunFolder
from pebench.submission import submissions
from pebench.submission.devices import devices_of
from pebench.submission.worker import (
    REQUEUE_SIGNAL,
    STOPPED,
    StopOnSignal,
    execute_cell,
    ignore_signals,
    requeued,
)

_LOOK_EVERY = 0.2
"""Seconds between looks at the processes."""

_SIGNALS = (REQUEUE_SIGNAL, signal.SIGTERM)


class PackJob:
    """The cells of one job of a packed submission."""

    def __call__(self, folder: str, number: int, width: int, execution: str, max_requeues: int) -> str:
        """Carries the cells out, so many at a time, and requeues the job if it was asked to stop.

        Args:
            folder: of the submission. number: of the job in its array.
            width: cells side by side. execution: an `Execution` as JSON.
            max_requeues: how often the job may be queued again.

        Returns:
            How it ended, for the job's log.
        """
        cells = _cells(Path(folder), number)
        return requeued(
            lambda stop: _carry_out(Path(folder), number, width, execution, stop), cells, max_requeues
        )

    def checkpoint(
        self, folder: str, number: int, width: int, execution: str, max_requeues: int
    ) -> DelayedSubmission:
        """What to run after a requeue: the same, for the runs' own folders say what is left."""
        return DelayedSubmission(PackJob(), folder, number, width, execution, max_requeues)


def _cells(folder: Path, number: int) -> list[Path]:
    """The folders of the runs of a job."""
    record = submissions.read(folder / "submission.json")
    chosen = record.cells[number * record.pack : (number + 1) * record.pack]
    return [folder.parent.parent / run_id for run_id in chosen]


def _carry_out(folder: Path, number: int, width: int, execution: str, stop: StopOnSignal) -> str:
    record = submissions.read(folder / "submission.json")
    runs = folder.parent.parent
    waiting = [cell.name for cell in _cells(folder, number)]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    devices = devices_of(width)
    free = list(range(width))
    places: dict[str, int] = {}
    told = False
    failed = 0
    while waiting or processes:
        if stop() and not told:
            # SLURM signals every process of a step, but other senders only the one they know.
            for process in processes.values():
                process.send_signal(REQUEUE_SIGNAL)
            waiting, told = [], True
        while waiting and free and not stop():
            run_id = waiting.pop(0)
            if _has_failed(RunFolder(runs / run_id), record.time):
                # A job that is queued again goes on; what failed in it is for the next submit.
                continue
            places[run_id] = free.pop(0)
            processes[run_id] = _start(runs / run_id, execution, devices[places[run_id]])
        for run_id, process in list(processes.items()):
            if process.poll() is not None:
                # A cell that is stopping may meet the same signal again, when nothing waits for it any more.
                stopped = stop() and process.returncode in (-REQUEUE_SIGNAL, -signal.SIGTERM)
                failed += not stopped and not _is_well(
                    RunFolder(runs / run_id), process.returncode, record.time
                )
                free.append(places[run_id])
                del processes[run_id]
        time.sleep(_LOOK_EVERY)
    if told:
        return STOPPED
    return f"{failed} cells failed" if failed else "done"


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


def _start(folder: Path, execution: str, devices: str | None) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    command = [sys.executable, "-P", "-u", "-m", __name__, str(folder), execution]
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


def _main(folder: str, execution: str) -> None:
    """One cell, in this process."""
    os.register_at_fork(after_in_child=ignore_signals)
    with StopOnSignal(*_SIGNALS) as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        sys.stdout.write(f"{Path(folder).name}: {execute_cell(Path(folder), execution, stop)}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
