"""Which cell a worker takes next: the first that waits for no run that another worker has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from pebench.errors import UserError
from pebench.store import RunFolder
from pebench.submission.chosen import LOOK_EVERY, any_busy, chosen_cell
from pebench.tuned_choices import choice_of, is_slot, read_choice


def ready_first(
    runs: Path, cells: Sequence[str], stop: Callable[[], bool], every: float = LOOK_EVERY
) -> Iterator[str]:
    """The cells, each once: of those left the first whose trials and whose start are in nobody's hands.

    No cell comes before its trials or its start, so one is always ready or under way.

    Args:
        runs: the folder of the runs.
        cells: run ids and slots.
        stop: whether to end before all have come.
        every: seconds between looks where all that are left wait.
    """
    left = list(cells)
    while left and not stop():
        # One look at the runs serves all cells that wait for them.
        busy = cache(partial(any_busy, runs))
        ready = next((cell for cell in left if not _waits(runs, cell, busy)), None)
        if ready is None:
            time.sleep(every)
        else:
            left.remove(ready)
            yield ready


def _waits(runs: Path, cell: str, busy: Callable[[tuple[str, ...]], bool]) -> bool:
    """Whether trials or the start of a cell are queued or under way."""
    try:
        if is_slot(cell) and busy(read_choice(runs, choice_of(cell)).choice.trials):
            return True
        start = RunFolder(runs / chosen_cell(runs, cell)).spec().start
    except UserError:
        return False  # it will not begin, and whoever takes it says why
    return start is not None and start.is_run and busy((start.run,))
