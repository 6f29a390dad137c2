"""Which recorded sweep a user means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pebench.errors import UserError, unknown
from pebench.store import SweepRecord, read_sweeps
from pebench.sweeping.yaml_file import read_mapping


def find_sweeps(runs: Path, wanted: Sequence[str]) -> list[SweepRecord]:
    """The recorded sweeps of these names or files, in that order; all of them if none is wanted.

    Raises:
        UserError: no sweep of that name was submitted into the folder, or none at all.
    """
    recorded = {sweep.name: sweep for sweep in read_sweeps(runs)}
    if not recorded:
        raise UserError(f"no sweep was submitted into '{runs}': submit one, or name the folder with --runs.")
    found = []
    for text in wanted or recorded:
        name = name_of(text)
        if name not in recorded and name != text:
            raise UserError(
                f"sweep '{name}' has not been submitted into {runs}: 'pebench submit {text}' does it."
            )
        if name not in recorded:
            raise unknown("sweep", name, recorded)
        found.append(recorded[name])
    return found


def name_of(text: str) -> str:
    """The name of a sweep, of which its file may have been given."""
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        return text
    content, _ = read_mapping(path)
    return str(content.get("name", path.stem))
