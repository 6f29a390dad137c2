"""Several cells in one job: side by side in processes of their own, and in each of them one after another.

A process that has carried out a cell keeps what the next one needs too: PyTorch, the data that it has mapped,
and what it compiled for cells that differ in the seed alone. One that a cell has failed in is not used again,
so that none takes another with it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pebench.running.execution import Execution
from pebench.store.run_folder import RunFolder
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
    devices = devices_of(min(record.resources.width, len(folders)))
    places = [_Place(execution, each) for each in devices]
    told = False
    failed = 0
    while waiting or any(place.folder is not None for place in places):
        if stop() and not told:
            # SLURM signals every process of a step, but other senders only the one they know.
            for place in places:
                place.send(REQUEUE_SIGNAL)
            waiting, told = [], True
        for place in places:
            while place.folder is None and waiting and not stop():
                folder = waiting.pop(0)
                # A job that is queued again goes on; what failed in it is for the next submit.
                if not folder.has_failed_since(record.time):
                    place.begin(folder)
            ended = place.ended()
            if ended is not None:
                folder, status = ended
                # A cell that is stopping may meet the same signal again, when nothing waits for it any more.
                stopped = stop() and status in (-REQUEUE_SIGNAL, -signal.SIGTERM)
                failed += not stopped and not _is_well(folder, status, record.time)
        time.sleep(_LOOK_EVERY)
    for place in places:
        place.close()
    return failed


class _Place:
    """Room for one cell at a time, with a process that carries out one after another while all goes well.

    Attributes:
        folder: of the run that is being carried out, None while there is none.
    """

    def __init__(self, execution: Execution, devices: str | None) -> None:
        self.folder: RunFolder | None = None
        self._execution, self._devices = execution, devices
        self._process: subprocess.Popen[bytes] | None = None
        self._replies = -1

    def begin(self, folder: RunFolder) -> None:
        """Carries out a run next."""
        self.folder = folder
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        # Whoever has died meanwhile is met in `ended`.
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{json.dumps(str(folder.path))}\n".encode())
            self._process.stdin.flush()

    def ended(self) -> tuple[RunFolder, int] | None:
        """The run that has ended, and the exit status of the process if it ended with it, 0 else; None while
        none has."""
        if self.folder is None or self._process is None:
            return None
        status = self._process.poll()
        done = bool(self._reply())
        if status is None and not done:
            return None
        folder, self.folder = self.folder, None
        if status is not None:
            self.close()
        return folder, 0 if done else status or 0

    def send(self, number: signal.Signals) -> None:
        """Sends the process a signal, if there is one, and no other run after that."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Lets the process end, and waits for it."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait()
            os.close(self._replies)
        self._process = None

    def _start(self) -> None:
        environment = dict(os.environ)
        if self._devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices
        self._replies, theirs = os.pipe()
        os.set_blocking(self._replies, False)
        command = [sys.executable, "-P", "-u", "-m", __name__, self._execution.model_dump_json(), str(theirs)]
        try:
            with _held_back():
                self._process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, pass_fds=(theirs,)
                )
        finally:
            os.close(theirs)

    def _reply(self) -> bytes:
        try:
            return os.read(self._replies, 1)
        except BlockingIOError:
            return b""


def _is_well(folder: RunFolder, status: int, since: float) -> bool:
    """Whether a cell's process ended as it should; what ended it is written down if it could not do so."""
    if not status:
        return True
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    if folder.result() is None and not folder.has_failed_since(since):
        folder.write_failure(f"its process {how}; the job of several cells that it was part of went on.")
    sys.stdout.write(f"{folder.run_id}: its process {how}\n")
    return False


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


def _main(execution: str, replies: str) -> None:
    """The cells that are named on the standard input, one after another, in this process."""
    os.register_at_fork(after_in_child=ignore_signals)
    how = Execution.model_validate_json(execution)
    os.set_inheritable(int(replies), False)
    with StopOnSignal(*_SIGNALS) as stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for line in sys.stdin:
            folder = RunFolder(Path(json.loads(line)))
            sys.stdout.write(f"{folder.run_id}: {carry_out_cell(folder, how, stop)}\n")
            gc.collect()
            os.write(int(replies), b"\n")
            if stop():
                return


if __name__ == "__main__":
    _main(*sys.argv[1:])
