"""Heartbeat of a worker, which also notices that another worker has taken its run over."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time

from pebench.errors import UserError
from pebench.running.machine_load import MachineLoad
from pebench.store.records import Worker
from pebench.store.run_folder import RunFolder

BEAT_EVERY = 5.0
"""Seconds between beats."""

_SAMPLE_EVERY = 15.0
"""Seconds between samples of the machine's load."""


class AlreadyRunning(UserError):
    """Another worker is at this run."""


class Heartbeat:
    """Rewrites worker.json every `BEAT_EVERY` seconds from a thread of its own, and samples the load of the
    machine.

    On leaving the context the file says that the work is over, and whether by an error.
    """

    def __init__(self, folder: RunFolder, steps: int, job: str | None, step: int = 0) -> None:
        """
        Args:
            folder: of the run.
            steps: it goes to.
            job: the scheduler's id, None without a scheduler.
            step: it begins at, until the first report.
        """
        self._folder = folder
        self._worker = Worker(
            token=secrets.token_hex(8),
            host=socket.gethostname(),
            pid=os.getpid(),
            job=job,
            beat=time.time(),
            step=step,
            steps=steps,
        )
        self._load = MachineLoad()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._folder.write_worker(self._worker)
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._over.set()
        self._thread.join()
        # What ended the work is more to the point than that its end cannot be written down.
        with contextlib.suppress(OSError):
            if self._mine():
                end = {"beat": time.time(), "over": True, "failed": isinstance(error, Exception)}
                self._folder.write_worker(self._worker.model_copy(update=end))
                self._folder.append_sample(self._load.sample())

    def at(self, step: int, rate: float | None = None) -> None:
        """Reports progress.

        Args:
            step: updates done.
            rate: steps a second, None where it is not known.

        Raises:
            AlreadyRunning: somebody else has taken over.
            UserError: the folder is gone.
        """
        self._worker = self._worker.model_copy(update={"step": step, "rate": rate})
        other = self._folder.worker()
        if other is None:
            raise UserError(f"{self._folder.path} has vanished while it was being worked on.")
        if other.token != self._worker.token:
            where = f"process {other.pid} on {other.host}"
            raise AlreadyRunning(f"{self._folder.run_id} was taken over by {where}.")

    def _keep_beating(self) -> None:
        sampled = time.monotonic()
        while not self._over.wait(BEAT_EVERY):
            # A disk that is full now may have room at the next beat.
            with contextlib.suppress(OSError):
                if not self._mine():
                    return
                if time.monotonic() - sampled >= _SAMPLE_EVERY:
                    self._folder.append_sample(self._load.sample())
                    sampled = time.monotonic()
                self._folder.write_worker(self._worker.model_copy(update={"beat": time.time()}))

    def _mine(self) -> bool:
        worker = self._folder.worker()
        return worker is not None and worker.token == self._worker.token
