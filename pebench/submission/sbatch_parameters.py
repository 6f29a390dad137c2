"""The parameters of sbatch that a user may add: those that exist, and that nothing else here decides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pebench.errors import UserError, unknown
from pebench.submission import scheduler
from pebench.submission.resources import OWN

DECIDED = {
    "array": "the cells of the sweep are the array",
    "chdir": "a job starts where it was submitted",
    "dependency": "cells that start from others wait for them by themselves",
    "error": "'pebench logs' finds the logs where they are",
    "export": "a job needs the environment that it was submitted in",
    "export-file": "a job needs the environment that it was submitted in",
    "job-name": "jobs are found again by their names",
    "kill-on-invalid-dep": "cells that start from others wait for them by themselves",
    "no-requeue": "a job that is preempted must go on",
    "open-mode": "a job that is requeued goes on with its log",
    "output": "'pebench logs' finds the logs where they are",
    "signal": "jobs are told to stop by a signal of their own",
    "wrap": "a job runs the cells of the sweep",
}
"""Parameters that cannot be set, and why."""


def checked(parameters: Mapping[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    """The parameters by their long names with hyphens.

    Raises:
        UserError: sbatch does not know one, or it is not for the user to set.
        SchedulerSilent: there is no sbatch to ask.
    """
    found: dict[str, str | int | float | bool] = {}
    for key, value in parameters.items():
        name = key.lstrip("-").replace("_", "-")
        if name in OWN:
            raise UserError(f"'{name}' has an option of its own: write '{OWN[name]}'.")
        if name in DECIDED:
            raise UserError(f"the parameter '{name}' of sbatch cannot be set: {DECIDED[name]}.")
        if value is False:
            raise UserError(f"the parameter '{name}' of sbatch is a switch: leave it out.")
        if name in found:
            raise UserError(f"the parameter '{name}' of sbatch stands twice.")
        found[name] = value
    known = _known() if found else set()
    for name in found:
        if name not in known:
            raise unknown("parameter", name, known - set(OWN) - set(DECIDED), "sbatch")
    return found


def _known() -> set[str]:
    """The long names in the help of the sbatch that is installed."""
    return set(re.findall(r"--([a-z][a-z0-9-]+)", scheduler.help_of_sbatch()))
