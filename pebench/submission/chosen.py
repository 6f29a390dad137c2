"""Choices made by whoever carries cells out, once their trials have ended, and why they are not made."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from pebench.errors import UserError
from pebench.store.tuned_choices import NoChoice, choice_of, choose, is_slot, read_choice, with_choices
from pebench.submission import status

LOOK_EVERY = 1.0
"""Seconds between looks at runs that are waited for."""


def any_busy(runs: Path, run_ids: Iterable[str]) -> bool:
    """Whether one of these runs is in somebody's hands."""
    return any(found.state in status.BUSY for found in status.statuses(runs, run_ids))


def await_trials(runs: Path, key: str, every: float = LOOK_EVERY) -> None:
    """Waits while trials of a choice are in the hands of other workers.

    Args:
        runs: the folder of the runs.
        key: of the choice.
        every: seconds between looks.
    """
    trials = read_choice(runs, key).choice.trials
    while any_busy(runs, trials):
        time.sleep(every)


def make_choices(runs: Path, keys: Iterable[str]) -> str:
    """Makes the choices that can be made.

    Returns:
        A sentence for each, in lines.
    """
    told = []
    for key in keys:
        try:
            choice = read_choice(runs, key).choice
            chosen = choose(runs, choice)
            told.append(chosen.why if chosen is not None else why_not(runs, key))
        except UserError as error:
            told.append(str(error))
    sys.stdout.write("".join(f"{line}\n" for line in told))
    sys.stdout.flush()
    return "; ".join(told)


def chosen_cell(runs: Path, cell: str) -> str:
    """The run of a cell; of a slot, the one that the trials choose.

    Raises:
        UserError: they choose none, or have not ended; one sentence says why.
    """
    if not is_slot(cell):
        return cell
    choose(runs, read_choice(runs, choice_of(cell)).choice)
    (found,) = with_choices(runs, [cell])
    if is_slot(found):
        raise NoChoice(why_not(runs, choice_of(cell)))
    return found


def why_not(runs: Path, key: str) -> str:
    """Why a choice is not made, in one sentence."""
    choice = read_choice(runs, key).choice
    trials = status.statuses(runs, choice.trials)
    ended = status.without_result(trials)
    if ended is not None:
        return status.stopped(choice, ended)
    over = sum(trial.state in status.FINISHED for trial in trials)
    return f"the choice for {choice.encoding} waits: {over} of {len(trials)} trials have ended."
