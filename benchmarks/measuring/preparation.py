"""Compiling beside each other what will be measured one after another."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed

from measuring.reporting import in_one_line

Beginning = Callable[[], float]


def prepare(beginnings: Mapping[str, Beginning], processes: int) -> dict[str, float]:
    """Results of the beginnings, called in processes of their own that leave compiled kernels in the cache.

    What fails here, for several at once may be more than fits into memory, is left for the measurement.

    Args:
        beginnings: by name; to be had by another process, and so no lambdas.
        processes: that work at a time.
    """
    found: dict[str, float] = {}
    with ThreadPoolExecutor(processes) as threads:
        tasks = {threads.submit(_elsewhere, begin): name for name, begin in beginnings.items()}
        for task in as_completed(tasks):
            name = tasks[task]
            try:
                found[name] = task.result()
            except Exception as error:  # whatever it is, the measurement will meet it again and tell
                sys.stderr.write(f"{name}: not prepared: {in_one_line(error)}\n")
                continue
            sys.stderr.write(f"{name}: prepared in {found[name]:.0f} s\n")
    return found


def _elsewhere(begin: Beginning) -> float:
    # A pool a task: one whose processes end after a task each may wait for ever at its end (Python 3.12).
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:
        return alone.submit(_as_the_main_program, begin).result()


def _as_the_main_program(begin: Beginning) -> float:
    # A compiled kernel is found again by a digest of a pickle, which names a constant of PyTorch after the
    # first module in `sys.modules` that knows `torch`. Here that would be the main program by a name that it
    # has in spawned processes alone, unless it comes last.
    sys.modules["__mp_main__"] = sys.modules.pop("__mp_main__")
    return begin()
