"""Which cell a worker takes next: the first that waits for no run that another worker has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from pebench.errors import UserError
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.store.tuned_choices import choice_of, is_slot, read_choice
from pebench.submission.alike import Rank
from pebench.submission.chosen import LOOK_EVERY, any_busy, chosen_cell


def ready_first(
    runs: Path,
    cells: Sequence[str],
    stop: Callable[[], bool],
    every: float = LOOK_EVERY,
    ranking: Callable[[], Rank] = lambda: lambda spec: 0,
) -> Iterator[str]:
    """The cells, each once: of those left the first whose trials and whose start are in nobody's hands.

    No cell comes before its trials or its start, so one is always ready or under way.

    Args:
        runs: the folder of the runs.
        cells: run ids and slots.
        stop: whether to end before all have come.
        every: seconds between looks where all that are left wait.
        ranking: asked before each cell for the rank of those that are ready.
    """
    left = list(cells)
    specs: dict[str, RunSpec] = {}
    while left and not stop():
        # One look at the runs serves all cells that wait for them.
        busy = cache(partial(any_busy, runs))
        rank = ranking()
        ready = _first(runs, left, specs, busy, rank)
        if ready is None:
            time.sleep(every)
        else:
            left.remove(ready)
            yield ready


def _first(
    runs: Path,
    left: Sequence[str],
    specs: dict[str, RunSpec],
    busy: Callable[[tuple[str, ...]], bool],
    rank: Rank,
) -> str | None:
    """The ready cell of the lowest rank; specifications once read are kept."""
    found: tuple[int, str] | None = None
    for cell in left:
        try:
            if cell not in specs:
                if is_slot(cell) and busy(read_choice(runs, choice_of(cell)).choice.trials):
                    continue
                specs[cell] = RunFolder(runs / chosen_cell(runs, cell)).spec()
            spec = specs[cell]
            if spec.start is not None and spec.start.is_run and busy((spec.start.run,)):
                continue
            place = rank(spec)
        except UserError:
            place = 0  # it will not begin, and whoever takes it says why
        if place == 0:
            return cell
        if found is None or place < found[0]:
            found = place, cell
    return None if found is None else found[1]
