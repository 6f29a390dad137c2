"""Which job arrays a sweep becomes: packed, in the order of their starts, and within what SLURM allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import NamedTuple


class Array(NamedTuple):
    """One job array.

    Attributes:
        cells: run ids, in order; every `pack` of them are one job.
        pack: cells a job.
        parallel: jobs at a time, None for no bound.
        after: positions in the plan of the arrays that must end before this one begins.
    """

    cells: tuple[str, ...]
    pack: int
    parallel: int | None
    after: tuple[int, ...]

    @property
    def jobs(self) -> int:
        """How many jobs it has."""
        return math.ceil(len(self.cells) / self.pack)


def plan(
    cells: Sequence[str], starts: Mapping[str, str], largest: int, pack: int = 1, parallel: int | None = None
) -> list[Array]:
    """The arrays for some cells; what an array waits for stands before it.

    Args:
        cells: run ids.
        starts: the run that a cell starts from, for those that start from one.
        largest: jobs that an array may have.
        pack: cells a job.
        parallel: jobs at a time of the whole sweep, None for no bound.
    """
    found: list[Array] = []
    before: tuple[int, ...] = ()
    for level in dependency_levels(cells, starts):
        first = len(found)
        size = largest * pack
        chunks = [tuple(level[start : start + size]) for start in range(0, len(level), size)]
        for number, chunk in enumerate(chunks):
            lane, share = _lane(number, len(chunks), parallel)
            ahead = () if lane is None else (first + lane,)
            found.append(Array(chunk, pack, share, (*before, *ahead)))
        before = tuple(range(first, len(found)))
    return found


def dependency_levels(cells: Sequence[str], starts: Mapping[str, str]) -> list[list[str]]:
    """Topological levels: level 0 depends on no cell, level n on one of level n - 1.

    Args:
        cells: run ids.
        starts: the run that a cell starts from, for those that start from one.

    Returns:
        Every cell once, in the order given within its level.
    """
    place = {run_id: number for number, run_id in enumerate(cells)}
    # An identity covers that of the start, so there are no cycles: nothing starts from itself.
    graph = TopologicalSorter(
        {cell: {starts[cell]} & place.keys() if cell in starts else () for cell in cells}
    )
    graph.prepare()
    levels = []
    while ready := graph.get_ready():
        levels.append(sorted(ready, key=place.__getitem__))
        graph.done(*ready)
    return levels


def _lane(number: int, chunks: int, parallel: int | None) -> tuple[int | None, int | None]:
    """The chunk to wait for, None for none, and how many jobs of this one may run at a time.

    SLURM bounds an array, not the arrays of a sweep together. So the bound is divided among as many lanes as
    it can fill, and the arrays of one lane come one after another.
    """
    if parallel is None:
        return None, None
    lanes = min(parallel, chunks)
    lane = number % lanes
    share = parallel // lanes + (lane < parallel % lanes)
    return (number - lanes if number >= lanes else None), share
