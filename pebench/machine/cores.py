"""The cores that a process has."""

from __future__ import annotations

import contextlib
import os

_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""The cores that SLURM gives a task or, where nobody asked for a number, a job on this node: where it binds
nobody to them, a process sees all of the node."""


FOR_PICTURES = "PEBENCH_WORKERS"
"""Variable that says how many processes make batches of pictures for one run."""

MOST_FOR_PICTURES = 16
"""Processes that make batches of pictures for one run, unless more are asked for."""


def cores() -> int:
    """Cores that this process and those that it starts may use."""
    found = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        found = len(os.sched_getaffinity(0))
    given = next((text for name in _SLURM if (text := os.environ.get(name, "")).isdecimal()), "")
    return min(found, int(given)) if given and int(given) else found
