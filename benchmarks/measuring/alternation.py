"""How every benchmark measures: pieces of work in alternation with a named baseline, as ratios in one run."""

from __future__ import annotations

import ctypes
import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

import torch

from pebench.running import peak_memory

Work = Callable[[], object]

PROCESSOR, WALL = "processor time", "wall clock"

_C = ctypes.CDLL(None)


@dataclass(frozen=True)
class Row:
    """One line of a benchmark.

    Attributes:
        name: what was measured. setting: under what conditions, by name.
        seconds: median time of one unit of work.
        ratio: median over the rounds of baseline time by this time: above 1 is faster than the baseline.
        spread: lower and upper quartile of that ratio.
        added_bytes: the most memory that one more call took beyond what was taken before it: allocated on a
            CUDA device, resident in the process on a CPU. None where it is not known.
        more: further figures by name.
    """

    name: str
    setting: dict[str, object]
    seconds: float
    ratio: float
    spread: tuple[float, float]
    added_bytes: int | None = None
    more: dict[str, float | str | None] = field(default_factory=dict)


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def alternate(
    works: Mapping[str, Work],
    baseline: str,
    setting: Mapping[str, object],
    rounds: int = 9,
    warmup: int = 2,
    units: Mapping[str, int] | None = None,
    seconds: float = math.inf,
) -> list[Row]:
    """Times pieces of work in turn, so that whatever else the machine does meets all of them alike.

    Args:
        works: by name. baseline: the name of the one the others are compared with.
        setting: what all of them have in common. rounds: that count. warmup: rounds before them.
        units: of work in one call, where that is not one; times and ratios are of one unit.
        seconds: after which no further round begins, if one has been counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    begun = time.perf_counter()
    for number in range(warmup + rounds):
        if number > warmup and time.perf_counter() - begun > seconds:
            break
        for name, work in works.items():
            own = timed(work)
            if number >= warmup:
                times[name].append(own / (units or {}).get(name, 1))
    added = {name: added_by(work) for name, work in works.items()}
    return [compared(name, setting, own, times[baseline], added[name]) for name, own in times.items()]


def compared(
    name: str, setting: Mapping[str, object], own: list[float], base: list[float], added: int | None = None
) -> Row:
    """A row from the times of equal rounds.

    Args:
        name, setting: see `Row`. own: seconds in each round. base: those of the baseline in the same rounds.
        added: bytes.
    """
    ratios = [before / seconds for before, seconds in zip(base, own, strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else (ratios[0],) * 3
    return Row(name, dict(setting), median(own), median(ratios), (low, high), added)


def timed(work: Work) -> float:
    """Seconds that a piece of work takes, to the end of all that it asks of the device."""
    where = device()
    now = time.process_time if clock() == PROCESSOR else time.perf_counter
    gc.collect()
    wait(where)
    begin = now()
    work()
    wait(where)
    return now() - begin


def clock() -> str:
    """The clock of `timed`: on a CPU with one thread the time that this process had the processor, since on a
    shared machine long work would else be interrupted more often than short."""
    return PROCESSOR if device().type == "cpu" and torch.get_num_threads() == 1 else WALL


def added_by(work: Work) -> int | None:
    """The most bytes that a piece of work adds to what is taken already, None where that is not known."""
    where = device()
    gc.collect()
    wait(where)
    _give_back()
    peak_memory.reset(where)
    before = peak_memory.read(where)
    work()
    wait(where)
    after = peak_memory.read(where)
    return None if before is None or after is None else after - before


def _give_back() -> None:
    """Returns what the allocator of the C library keeps for later, which would not be counted as added."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)


def wait(where: torch.device) -> None:
    """Until the device has done what it was asked for."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
