"""How often SLURM may queue a job again, and what its runs are told when that is over."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pebench.store.run_folder import RunFolder


def count() -> int:
    """How often SLURM has queued this job again, for whatever reason: a preemption, the time limit, a node
    that died."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def give_up(folders: Iterable[RunFolder], interruptions: int, limit: int) -> None:
    """Writes down for every run that is neither finished nor failed why its job is not queued again.

    Args:
        folders: of the runs.
        interruptions: that the job has met.
        limit: how often it may be queued again.
    """
    for folder in folders:
        if folder.result() is None and folder.failure() is None:
            worker = folder.worker()
            where = "before its first step" if worker is None else f"now at step {worker.step}"
            folder.write_failure(
                f"its job was interrupted {_times(interruptions)}, {where}, and --max-requeues lets it be "
                f"queued again {_times(limit)}; the next submit goes on from there."
            )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
