"""State of past sync passes, so that an unchanged run costs nothing. Deleting it costs time alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from pebench import atomic
from pebench.specification.run_spec import Frozen
from pebench.store.run_folder import RunFolder

_FILES = (
    *("spec.json", "provenance.json", "metrics.jsonl", "system.jsonl"),
    *("result.json", "failure.json", "cancelled", "log.txt"),
)


class SyncedRun(Frozen):
    """One run in one tracking store.

    Attributes:
        tracked: the store's id of the run.
        experiment: the experiment it is in, by `Experiments.key`.
        signature: that of the folder when it was mirrored.
        steps: the last step mirrored, by metric.
    """

    tracked: str
    experiment: str
    signature: str
    steps: dict[str, int]


class SyncState(Frozen):
    """What a store holds.

    Attributes:
        runs: by run id.
        sweeps: the runs of the sweeps themselves, by the sweep's name.
    """

    runs: dict[str, SyncedRun] = Field(default_factory=dict)
    sweeps: dict[str, SyncedRun] = Field(default_factory=dict)


def signature(folder: RunFolder, sweeps: Sequence[str]) -> str | None:
    """Changes when a file of the folder does, or when the run becomes part of another sweep.

    Returns:
        A digest of sizes and times of change; None for a run that nobody has begun.
    """
    parts = [*sweeps]
    begun = False
    for name in _FILES:
        try:
            stat = (folder.path / name).stat()
        except OSError:
            continue
        begun = begun or name != "spec.json"
        parts.append(f"{name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if begun else None


def state_file(runs: Path, uri: str) -> Path:
    """Where the memory of a tracking store is kept."""
    return runs / ".sync" / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"


def load(path: Path) -> SyncState:
    """The saved state; empty where the file is gone or of another version.

    All of it can be found again in the folders and in the store.
    """
    try:
        return SyncState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return SyncState()


def save(path: Path, state: SyncState) -> None:
    """Remembers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, state.model_dump_json() + "\n")
