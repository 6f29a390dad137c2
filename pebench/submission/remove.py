"""Removing runs and sweeps, but for what another sweep uses or another run begins with."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError, join_and
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, remove_sweep
from pebench.store.tuned_choices import submitted_sweeps
from pebench.submission import status
from pebench.submission.exclusive import exclusive
from pebench.submission.status import BUSY
from pebench.sweeping.recorded import named_cell, recorded_sweep


@dataclass
class Removal:
    """What is to be removed.

    Attributes:
        sweeps: names of sweeps, whose records are.
        runs: ids of runs, whose folders are.
        kept: why a run of these sweeps is not, by its id.
    """

    sweeps: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def plan(runs: Path, names: list[str]) -> Removal:
    """Finds out what can be removed, and touches nothing.

    Args:
        runs: the folder of the runs.
        names: of sweeps or their files, and ids of runs or their beginnings.

    Raises:
        UserError: nothing is called so, a run that is named is needed elsewhere, or one is under way.
    """
    records = {record.name: record for record in submitted_sweeps(runs)}
    cells = {name: named_cell(runs, name) for name in names}
    named = [run_id for run_id in cells.values() if run_id is not None]
    found = Removal(sweeps=[recorded_sweep(runs, name).name for name in names if cells[name] is None])
    others = [record for record in records.values() if record.name not in found.sweeps]
    candidates = [*named, *(run for name in found.sweeps for run in records[name].runs)]
    leaving = set(candidates)
    needed = _starts(runs, leaving)
    for run_id in dict.fromkeys(candidates):
        why = _why_kept(run_id, others, needed, named)
        if why and run_id in named:
            raise UserError(f"{run_id} stays: {why}.")
        if why:
            found.kept[run_id] = why
        elif (runs / run_id).exists():
            found.runs.append(run_id)
    busy = [cell.run for cell in status.statuses(runs, found.runs) if cell.state in BUSY]
    if busy:
        raise UserError(
            f"{join_and(busy[:3])} {'is' if len(busy) == 1 else 'are'} under way: 'pebench cancel' first."
        )
    return found


def remove(runs: Path, removal: Removal) -> None:
    """Removes what was planned. A folder goes in one step, so that none is left by half."""
    with exclusive(runs.absolute()):
        for name in removal.sweeps:
            remove_sweep(runs, name)
        for run_id in removal.runs:
            away = runs / f".removed-{run_id}-{secrets.token_hex(4)}"
            # Somebody else may have removed it since this was planned.
            with contextlib.suppress(FileNotFoundError):
                (runs / run_id).rename(away)
                shutil.rmtree(away, ignore_errors=True)


def _why_kept(run_id: str, others: list[SweepRecord], needed: dict[str, str], named: list[str]) -> str:
    using = [record.name for record in others if run_id in record.runs]
    # A run that is named is one cell of its sweep, which misses it from then on.
    if len(using) > (1 if run_id in named else 0):
        sweeps = join_and(using)
        return f"sweep {sweeps} uses it" if len(using) == 1 else f"sweeps {sweeps} use it"
    return f"run {needed[run_id]} begins with its weights" if run_id in needed else ""


def _starts(runs: Path, leaving: set[str]) -> dict[str, str]:
    """A run that stays and begins with another, by that other's id."""
    found: dict[str, str] = {}
    for path in sorted(runs.glob("*/spec.json")):
        if path.parent.name in leaving:
            continue
        try:
            start = RunFolder(path.parent).spec().start
        except Unreadable:
            continue
        if start is not None:
            found[start.run] = path.parent.name
    return found
