"""How processes side by side share the cores that they have."""

from __future__ import annotations

import contextlib
import os

from pebench.running.execution import Execution, torch_device

_SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""The cores that SLURM gives a task or, where nobody asked for a number, a job on this node: where it binds
nobody to them, a process sees all of the node."""

_COMPILER = "TORCHINDUCTOR_COMPILE_THREADS"


def cores() -> int:
    """Cores that this process and those that it starts may use."""
    found = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):
        found = len(os.sched_getaffinity(0))
    given = next((text for name in _SLURM if (text := os.environ.get(name, "")).isdecimal()), "")
    return min(found, int(given)) if given and int(given) else found


def sharing(execution: Execution, processes: int) -> Execution:
    """The execution of each of several processes side by side: on the CPU with an equal share of the cores
    for threads, at least one, unless it says how many threads there are.

    By default each process would take every core, and they would wait for one another: two on two cores run
    at a tenth of the speed of one. Their compilers share the cores, too.

    Args:
        execution: of all of them.
        processes: that work at a time.
    """
    if processes == 1:
        return execution
    share = max(1, cores() // processes)
    os.environ.setdefault(_COMPILER, str(share))
    if execution.threads is not None or torch_device(execution.device).type != "cpu":
        return execution
    return execution.model_copy(update={"threads": share})
