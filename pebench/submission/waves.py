"""The order of cells that begin with the weights of others: each wave after all that it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def waves(cells: Sequence[str], starts: Mapping[str, str]) -> list[list[str]]:
    """The cells in groups, the first of which starts from none of them each later one from the one before.

    Args:
        cells: run ids. starts: the run that a cell starts from, for those that start from one.

    Returns:
        Every cell once, in the order given within its wave.
    """
    members = set(cells)

    def depth(run_id: str) -> int:
        start = starts.get(run_id)
        # An identity covers that of the start, so this ends: nothing starts from itself.
        return 0 if start is None or start not in members else 1 + depth(start)

    found: dict[int, list[str]] = {}
    for run_id in cells:
        found.setdefault(depth(run_id), []).append(run_id)
    return [found[number] for number in sorted(found)]
