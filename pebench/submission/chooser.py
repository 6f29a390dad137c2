"""The job between the stages of a sweep that tunes: it writes what the trials choose, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from submitit.helpers import DelayedSubmission

from pebench.choices import NoChoice, choice_of, choose, is_slot, read_choice, with_choices
from pebench.errors import UserError
from pebench.submission import status, submissions
from pebench.submission.resources import Resources

_MINUTES = 60
"""Time limit of the job, which takes seconds."""


class Chooser:
    """Makes the choices of a submission whose trials have ended."""

    def __call__(self, folder: str, number: int = 0, execution: str = "") -> str:
        """Chooses, and says how it ended, for the job's log.

        Args:
            folder: of the submission, whose cells are the keys of the choices.
            number: of the job, which is the only one.
            execution: of no meaning here.
        """
        place = Path(folder)
        return make_choices(place.parent.parent, submissions.read(place / "submission.json").cells)

    def checkpoint(self, *arguments: object) -> DelayedSubmission:
        """The call to make after a requeue: the same, since a choice made twice is the same one."""
        return DelayedSubmission(Chooser(), *arguments)


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


def resources_of(resources: Resources, choices: int) -> Resources:
    """Resources of the one job that makes so many choices: a core, and no GPU."""
    small = {"gpus": 0, "nodes": 1, "ranks": None, "cpus": 1, "mem": None, "pack": choices, "at_once": None}
    return resources.model_copy(update={**small, "time": min(resources.time, _MINUTES)})
