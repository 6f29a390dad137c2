"""State of past sync passes, so that an unchanged run costs nothing. Deleting it costs time alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from pebench import atomic
from pebench.spec import Frozen
from pebench.store import RunFolder

_FILES = (
    *("spec.json", "provenance.json", "metrics.jsonl", "system.jsonl"),
    *("result.json", "failure.json", "log.txt"),
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


class _SyncState(Frozen):
    runs: Mapping[str, SyncedRun]


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
        except FileNotFoundError:
            continue
        begun = begun or name != "spec.json"
        parts.append(f"{name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if begun else None


def state_file(runs: Path, uri: str) -> Path:
    """Where the memory of a tracking store is kept."""
    return runs / ".sync" / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"


def load(path: Path) -> dict[str, SyncedRun]:
    """The saved state by run id; empty where the file is gone or of another version.

    All of it can be found again in the folders and in the store.
    """
    try:
        return dict(_SyncState.model_validate_json(path.read_bytes()).runs)
    except (FileNotFoundError, ValidationError):
        return {}


def save(path: Path, runs: Mapping[str, SyncedRun]) -> None:
    """Remembers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, _SyncState(runs=runs).model_dump_json() + "\n")
