"""The job between the stages of a sweep that tunes: it writes what the trials choose, and why."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from submitit.helpers import DelayedSubmission

from pebench.errors import UserError
from pebench.submission import submissions
from pebench.submission.chosen import await_trials, make_choices
from pebench.submission.resources import Resources

_MINUTES = 60
"""Time limit of the job, which takes seconds where no trial was started again after it was queued."""

_LOOK_EVERY = 5.0
"""Seconds between looks at trials, for each of which SLURM is asked."""


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
        runs, keys = place.parent.parent, submissions.read(place / "submission.json").cells
        for key in keys:
            # SLURM has waited for the trials that it was submitted with. Those that were lost and started
            # again since are none of these.
            with suppress(UserError):
                await_trials(runs, key, every=_LOOK_EVERY)
        return make_choices(runs, keys)

    def checkpoint(self, *arguments: object) -> DelayedSubmission:
        """The call to make after a requeue: the same, since a choice made twice is the same one."""
        return DelayedSubmission(Chooser(), *arguments)


def resources_of(resources: Resources, choices: int) -> Resources:
    """Resources of the one job that makes so many choices: a core, and no GPU."""
    small = {"gpus": 0, "nodes": 1, "ranks": None, "cpus": 1, "mem": None, "pack": choices, "at_once": None}
    return resources.model_copy(update={**small, "time": min(resources.time, _MINUTES)})
