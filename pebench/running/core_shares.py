"""How processes side by side share the cores that they have."""

from __future__ import annotations

import os

from pebench.machine.cores import FOR_PICTURES, MOST_FOR_PICTURES, cores
from pebench.running.execution import Execution, torch_device

_COMPILER = "TORCHINDUCTOR_COMPILE_THREADS"


def sharing(execution: Execution, processes: int) -> Execution:
    """The execution of each of several processes side by side: on the CPU with an equal share of the cores
    for threads, at least one, unless it says how many threads there are.

    By default each process would take every core, and they would wait for one another: two on two cores run
    at a tenth of the speed of one. Their compilers share the cores, too, and the processes that make batches
    of pictures for them, one at least each.

    Args:
        execution: of all of them.
        processes: that work at a time.
    """
    if processes == 1:
        return execution
    share = max(1, cores() // processes)
    os.environ.setdefault(_COMPILER, str(share))
    os.environ.setdefault(FOR_PICTURES, str(min(MOST_FOR_PICTURES, max(1, share - 1))))
    if execution.threads is not None or torch_device(execution.device).type != "cpu":
        return execution
    return execution.model_copy(update={"threads": share})
