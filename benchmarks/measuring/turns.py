"""The turns that two trainings take beside each other: how many steps each measurement is of."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial

from measuring.alternation import device, timed, wait

from pebench.running.execution import Execution
from pebench.running.train import Progress

MEASURED = 0.25
"""Seconds that one measurement takes at least. On CUDA it takes as many steps, too, as a run takes between
two looks at the device, which stands idle after each look until the host has got ahead of it again."""

Loop = Iterator[Progress]


def first_step_of(loop: Loop) -> float:
    """Seconds of the first step, behind which the loop is ready to be measured."""
    begin = time.perf_counter()
    advance(loop, 1)
    wait(device())
    seconds = time.perf_counter() - begin
    # The second step may compile once more, and settles what memory is kept.
    advance(loop, 2)
    return seconds


def steps_of_a_measurement(loop: Loop) -> int:
    """Steps that one measurement takes."""
    seconds = timed(partial(advance, loop, 2)) / 2
    least = Execution().log_every if device().type == "cuda" else 1
    return max(least, math.ceil(MEASURED / seconds))


def advance(loop: Loop, count: int) -> None:
    """Takes so many steps."""
    for _ in range(count):
        next(loop)
