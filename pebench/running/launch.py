"""Starting the ranks of a run on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

from pebench.running.core_shares import sharing
from pebench.running.execution import Execution, Observer, Stop
from pebench.running.ranks import ALONE, JoinedRanks
from pebench.running.run import execute
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder

_GRACE = 10.0
"""Seconds that the other ranks may take to end."""


def execute_here(
    folder: RunFolder,
    execution: Execution | None = None,
    *,
    observer: Observer | None = None,
    stop: Stop = lambda: False,
) -> Result | None:
    """Brings a run to its result in this process, or in as many on this machine as the execution wants.

    Args:
        folder: of the run.
        execution: how it is carried out.
        observer: told of progress.
        stop: asked after every step and every evaluation.

    Returns, Raises:
        As `execute` does.
    """
    execution = execution or Execution()
    if execution.ranks == 1 or folder.result() is not None:
        return execute(folder, execution, observer=observer, stop=stop, ranks=ALONE)
    execution = sharing(execution, execution.ranks)
    ranks = LocalRanks(folder, execution)
    return execute(folder, execution, observer=observer, stop=stop, ranks=ranks)


class LocalRanks(JoinedRanks):
    """The first of several ranks on this machine, which starts the others and ends them."""

    def __init__(self, folder: RunFolder, execution: Execution) -> None:
        super().__init__(0, execution.ranks, 0, "127.0.0.1", 0)
        self._folder, self._execution = folder, execution
        self._others: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> LocalRanks:
        super().__enter__()
        command = [sys.executable, "-P", "-m", "pebench.running.follower", str(self._folder.path.absolute())]
        execution = self._execution.model_dump_json()
        for rank in range(1, self.count):
            place = [str(rank), str(self.port), str(os.getpid())]
            # A session of its own: a terminal or a time limit tells a whole group of processes to end, and
            # this one could not yet leave it to the first rank.
            started = subprocess.Popen(
                [*command, execution, *place], stdin=subprocess.DEVNULL, start_new_session=True
            )
            self._others.append(started)
        return self

    def _has_left(self, rank: int) -> bool:
        return super()._has_left(rank) or (rank > 0 and self._others[rank - 1].poll() is not None)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        super().__exit__(kind, error, trace)
        end = time.monotonic() + (_GRACE if error is None else 0)
        for process in self._others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
