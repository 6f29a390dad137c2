"""Sweeps that were submitted: which of them a user means, and what they were when they were submitted."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pebench.errors import FEW, UserError, unknown
from pebench.running.plugins import load_plugins
from pebench.specification.options import validated
from pebench.specification.run_spec import RunSpec
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder, find_run
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import is_slot, read_choice, submitted_sweeps
from pebench.sweeping import yaml_file
from pebench.sweeping.names import is_name, is_there, names
from pebench.sweeping.sweep import Sweep, load_sweep, resolved
from pebench.sweeping.sweep_file import SweepFile


def recorded_sweep(runs: Path, wanted: str) -> SweepRecord:
    """Record of the sweep that was submitted under a name, or under that of its file.

    Where the file has changed since, what was submitted counts, and a line on stderr says so.

    Raises:
        UserError: nothing was; the sentence names the nearest.
    """
    record, changed = _find(runs, wanted)
    if changed:
        sys.stderr.write(f"pebench: {_changed(wanted)}; this goes by what was submitted.\n")
    return record


def recorded_sweeps(runs: Path, wanted: Sequence[str]) -> list[SweepRecord]:
    """Each sweep of these names or files once, in that order; all there are if none is wanted.

    Raises:
        UserError: one of them was not submitted, or none at all.
    """
    if wanted:
        named = (recorded_sweep(runs, text) for text in wanted)
        return list({record.name: record for record in named}.values())
    found = submitted_sweeps(runs)
    if not found:
        raise _nothing(runs)
    return found


def unchanged_sweep(runs: Path, wanted: str) -> SweepRecord:
    """As `recorded_sweep`, for whoever is about to start cells.

    A changed file is refused, because what it says now is not what would be started.

    Raises:
        UserError: nothing was submitted, or the file has changed since.
    """
    record, changed = _find(runs, wanted)
    if changed:
        raise UserError(
            f"{_changed(wanted)}: 'pebench submit {wanted}' starts what it says now; "
            f"give its name, '{record.name}', for what was submitted."
        )
    return record


def as_submitted(runs: Path, record: SweepRecord) -> Sweep:
    """The sweep of a record, from the folders of its runs; its file need not be there any more.

    The plugins of the runs are loaded from the copies in their folders. A run whose folder is gone or whose
    specification cannot be read is left out, and a line on stderr says so.

    Raises:
        UserError: a plugin is not what it was.
    """
    file = validated(SweepFile, _submitted(record), f"sweep '{record.name}'")
    folders = [RunFolder(runs / run_id) for run_id in record.runs if not is_slot(run_id)]
    there = [folder for folder in folders if (folder.path / "spec.json").exists()]
    if len(there) < len(folders):
        gone = f"{len(folders) - len(there)} of {len(folders)} runs of sweep '{record.name}' have no folder"
        sys.stderr.write(f"pebench: {gone} any more; 'pebench submit' with its file makes them again.\n")
    cells = []
    for folder in there:
        try:
            spec = folder.spec()
        except Unreadable as error:
            sys.stderr.write(f"pebench: {error}\n")
            continue
        load_plugins(folder, spec)
        cells.append(spec)
    return Sweep(
        name=record.name,
        source=record.source,
        cells=tuple(cells),
        trials=record.trials,
        choices=tuple(read_choice(runs, key).choice for key in record.choices),
        baseline=record.baseline,
        execution=file.execution,
        submitted=record,
    )


def sweep_of(runs: Path, run_id: str) -> SweepRecord:
    """The first sweep by name that a run is a cell of.

    Raises:
        UserError: there is none.
    """
    for record in submitted_sweeps(runs):
        if run_id in record.runs:
            return record
    raise UserError(f"{run_id} is a cell of no sweep: 'pebench run' with what it was given goes on with it.")


def startable_sweep(runs: Path, wanted: str, settings: Sequence[tuple[str, Any]] = ()) -> Sweep:
    """The sweep of a file, or else the one that was submitted or imported under a name, with all its cells.

    Args:
        runs: the folder of the runs.
        wanted: a path or a name; a file of that name counts before what was submitted.
        settings: paths of keys of the file, and what to put there.

    Raises:
        UserError: there is neither, or something in it does not exist or does not go together.
    """
    records = {record.name: record for record in submitted_sweeps(runs)}
    if is_there(wanted) or not (wanted in records or is_name(wanted)):
        return load_sweep(wanted, runs, settings)
    if wanted not in records:
        raise unknown("sweep", wanted, {*names(), *records}, listed=FEW)
    record = records[wanted]
    if settings:
        raise UserError(
            f"--set changes the file of a sweep, and no file is found by the name '{wanted}': give its path."
        )
    specs = submitted_specs(record, runs)
    if record.choices or not set(record.runs) <= specs.keys():
        return as_submitted(runs, record)
    file = validated(SweepFile, _submitted(record), f"sweep '{record.name}'")
    return Sweep(
        name=record.name,
        source=record.source,
        cells=tuple(specs[run_id] for run_id in record.runs),
        baseline=record.baseline,
        execution=file.execution,
        submitted=record,
    )


def submitted_specs(record: SweepRecord, runs: Path) -> dict[str, RunSpec]:
    """Intended cells of a record, by run id, from the text of its file and the plugins in the folders of its
    runs; nothing where that cannot be told any more, as without a plugin."""
    for run_id in record.runs:
        folder = RunFolder(runs / run_id)
        with contextlib.suppress(UserError):
            load_plugins(folder, folder.spec())
    try:
        file = validated(SweepFile, _submitted(record), f"sweep '{record.name}'")
        found = resolved(file, runs)
        return Sweep(name="", source="", cells=found.cells, choices=found.choices).possible()
    except UserError:
        return {}


def named_cell(runs: Path, text: str) -> str | None:
    """The id of the run that a text names, None where it is meant as a sweep.

    Raises:
        UserError: several runs begin so, or nothing does; the sentence names the nearest.
    """
    sweeps = [record.name for record in submitted_sweeps(runs)]
    if means_sweep(text, sweeps):
        return None
    ids = [path.parent.name for path in runs.glob("*/spec.json")]
    if any(run_id.startswith(text) for run_id in ids):
        return find_run(runs, text).run_id
    raise unknown("sweep or run", text, {*sweeps, *ids}, listed=FEW) if sweeps or ids else _nothing(runs)


def name_of(text: str) -> str:
    """The name of a sweep, of which its file may have been given.

    Raises:
        UserError: the file cannot be read.
    """
    return str(_said(Path(text))["name"]) if yaml_file.is_named(text) else text


def means_sweep(text: str, names: Iterable[str]) -> bool:
    """Whether a text that could name something else is meant as a sweep, for it is a file or one of the names
    of those that were submitted."""
    return yaml_file.is_named(text) or text in names


def _find(runs: Path, wanted: str) -> tuple[SweepRecord, bool]:
    """Record of a submission, and whether it was named by a file that says something else now."""
    records = {record.name: record for record in submitted_sweeps(runs)}
    if not yaml_file.is_named(wanted):
        if wanted not in records:
            raise unknown("sweep", wanted, records, listed=FEW) if records else _nothing(runs)
        return records[wanted], False
    said = _said(Path(wanted))
    name = str(said["name"])
    if name not in records:
        raise UserError(
            f"sweep '{name}' has not been submitted into {runs}: 'pebench submit {wanted}' does it."
        )
    return records[name], said != _submitted(records[name])


def _said(path: Path) -> dict[str, Any]:
    """Values in the file of a sweep."""
    values, _ = yaml_file.read_mapping(path)
    return {"name": path.stem, **values}


def _submitted(record: SweepRecord) -> dict[str, Any]:
    """Values at the time of submission."""
    return {"name": record.name, **yaml_file.parse_mapping(record.source, f"sweep '{record.name}'")}


def _changed(wanted: str) -> str:
    return f"{wanted} has changed since it was submitted"


def _nothing(runs: Path) -> UserError:
    return UserError(f"no sweep was submitted into '{runs}': submit one, or name the folder with --runs.")
