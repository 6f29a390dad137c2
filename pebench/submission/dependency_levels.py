"""The order of cells of which some start from the weights of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter


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
