"""A rank that another process on this machine has started: ``python -m pebench.running.follower``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from pebench.machine.die_with_parent import die_with_parent
from pebench.running.execution import Execution
from pebench.running.ranks import JoinedRanks
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder


def follow(folder: str, execution: str, rank: str, port: str, parent: str) -> None:
    """Does its part of a run, and leaves no trace if that fails: the log of the run has it.

    Args:
        folder: of the run.
        execution: an `Execution` as JSON.
        rank: of this process.
        port: where the first rank listens.
        parent: process id of the first rank, without which this one ends too.
    """
    # Whoever ends a job may tell all its processes. The first rank decides, and the others agree.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(int(parent))
    how = Execution.model_validate_json(execution)
    execute(
        RunFolder(Path(folder)),
        how,
        ranks=JoinedRanks(int(rank), how.ranks, int(rank), "127.0.0.1", int(port)),
    )


if __name__ == "__main__":
    try:
        follow(*sys.argv[1:])
    except Exception:
        sys.exit(1)
