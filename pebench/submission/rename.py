"""Another name for a sweep that was submitted."""

from __future__ import annotations

from pathlib import Path

from pebench.errors import UserError
from pebench.store.sweep_records import (
    SweepRecord,
    read_sweeps,
    remember_folder,
    remembered_folder,
    remove_sweep,
    write_sweep,
)
from pebench.submission import submissions
from pebench.submission.exclusive import exclusive
from pebench.sweeping.names import refuse_name
from pebench.sweeping.recorded import recorded_sweep


def plan(runs: Path, sweep: str, name: str) -> SweepRecord:
    """Finds out whether a sweep can have another name, and touches nothing.

    Args:
        runs: the folder of the runs.
        sweep: its name or its file.
        name: the other name.

    Returns:
        Its record as it is.

    Raises:
        UserError: there is no such sweep, or the other name is taken or cannot be one.
    """
    record = recorded_sweep(runs, sweep)
    refuse_name(name)
    others = {each.name: each for each in read_sweeps(runs)}
    if name in others:
        raise UserError(f"there is a sweep '{name}' already.")
    # `recorded_sweep` puts runs in the places of choices, which the record keeps.
    return others[record.name]


def rename(runs: Path, record: SweepRecord, name: str) -> None:
    """Gives a sweep another name, in its record and in those of its submissions."""
    with exclusive(runs.absolute()):
        write_sweep(runs, record.model_copy(update={"name": name}))
        if (folder := remembered_folder(runs, record.name)) is not None:
            remember_folder(runs, name, folder)
        for submission in submissions.every(runs):
            if submission.sweep == record.name:
                submissions.write(runs, submission.model_copy(update={"sweep": name}))
        remove_sweep(runs, record.name)
