"""What was submitted under the names of sweeps, in a folder of runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from pebench import atomic
from pebench.specification.run_spec import Frozen
from pebench.store.record_files import read_record


class SweepRecord(Frozen):
    """Record of what was submitted under the name of a sweep.

    Attributes:
        name: of the sweep.
        source: the text of its file.
        runs: the ids of its cells, in the order of the file; slots where a setting was still to be chosen.
        baseline: the encoding label that others are compared with, None to compare with none.
        trials: the ids of those cells that only settings were chosen by, see `pebench.store.tuned_choices`.
        choices: the keys of its choices.
    """

    name: str
    source: str
    runs: tuple[str, ...]
    baseline: str | None = None
    trials: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def reported(self) -> tuple[str, ...]:
        """The ids of the cells that tables show."""
        trials = set(self.trials)
        return tuple(run_id for run_id in self.runs if run_id not in trials)

    @model_serializer(mode="wrap")
    def _as_before(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A sweep that tunes nothing is written as it was before there was tuning."""
        values: dict[str, Any] = usual(self)
        added = () if self.choices else ("trials", "choices")
        return {name: value for name, value in values.items() if name not in added}


def write_sweep(runs: Path, record: SweepRecord) -> None:
    """Records what a sweep is made of, in place of an older record of that name."""
    folder = runs / ".sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / f"{record.name}.json", record.model_dump(mode="json"))


def remove_sweep(runs: Path, name: str) -> None:
    """Forgets what a sweep is made of; its runs stay."""
    for kind in ("json", "folder"):
        (runs / ".sweeps" / f"{name}.{kind}").unlink(missing_ok=True)


def remember_folder(runs: Path, name: str, folder: Path) -> None:
    """Keeps where the file of a sweep lies, from the folder of runs on. It is no part of the sweep's record,
    which others are given."""
    atomic.write_text(_place_of_folder(runs, name), os.path.relpath(folder.resolve(), runs.resolve()))


def remembered_folder(runs: Path, name: str) -> Path | None:
    """Where the file of a sweep lay when it was submitted, None where that is not known."""
    try:
        kept = runs.resolve() / _place_of_folder(runs, name).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    here, there = Path.cwd(), Path(os.path.normpath(kept))
    return there.relative_to(here) if there.is_relative_to(here) else there


def _place_of_folder(runs: Path, name: str) -> Path:
    return runs / ".sweeps" / f"{name}.folder"


def read_sweeps(runs: Path) -> list[SweepRecord]:
    """Every sweep that was submitted into a folder of runs, by name.

    Raises:
        Unreadable: a record is damaged.
    """
    found = (read_record(path, SweepRecord) for path in sorted((runs / ".sweeps").glob("*.json")))
    return [record for record in found if record is not None]
