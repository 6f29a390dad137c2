"""Compiling beside each other what will be measured one after another."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed


def prepare(beginnings: Mapping[str, Callable[[], float]], processes: int) -> dict[str, float]:
    """What each beginning returns, called in a process of its own that leaves what it compiles in the cache.

    What fails here, for several at once may be more than fits into memory, is left for the measurement.

    Args:
        beginnings: by name; to be had by another process, and so no lambdas.
        processes: that work at a time.
    """
    found: dict[str, float] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(begin): name for name, begin in beginnings.items()}
        for task in as_completed(tasks):
            name = tasks[task]
            try:
                found[name] = task.result()
            except Exception as error:  # whatever it is, the measurement will meet it again and tell
                sys.stderr.write(f"{name}: not prepared: {in_one_line(error)}\n")
                continue
            sys.stderr.write(f"{name}: prepared in {found[name]:.0f} s\n")
    return found


def in_one_line(error: BaseException) -> str:
    """What went wrong, for a log."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
