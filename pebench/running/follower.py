"""A rank that another process on this machine has started: ``python -m pebench.running.follower``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pebench.running.execution import Execution
from pebench.running.ranks import JoinedRanks
from pebench.running.run import execute
from pebench.store import RunFolder


def follow(folder: str, execution: str, rank: str, port: str) -> None:
    """Does its part of a run, and leaves no trace if that fails: the log of the run has it.

    Args:
        folder: of the run. execution: an `Execution` as JSON.
        rank: of this process. port: where the first rank listens.
    """
    # A terminal sends interrupts to all its processes. The first rank decides, and the others agree.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    how = Execution.model_validate_json(execution)
    execute(
        RunFolder(Path(folder)),
        how,
        ranks=JoinedRanks(int(rank), how.ranks, int(rank), "127.0.0.1", int(port)),
    )


def _end_with_the_first() -> None:
    # Nothing is ever written; the pipe ends with the process at its other end.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    try:
        follow(*sys.argv[1:])
    except Exception:
        sys.exit(1)
