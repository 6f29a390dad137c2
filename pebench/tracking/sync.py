"""One pass over the run folders, which mirrors what has changed since the last one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError
from pebench.store import RunFolder, read_sweeps
from pebench.tracking import memory
from pebench.tracking.address import tracking_uri
from pebench.tracking.memory import Remembered
from pebench.tracking.mirror import Mirror
from pebench.tracking.patience import StoreUnavailableError
from pebench.tracking.record import read_record

_SAVE_EVERY = 5.0
"""Seconds between savings of the memory: what a killed pass repeats at most."""


@dataclass
class Outcome:
    """What a pass did.

    Attributes:
        mirrored: runs that were brought up to date. unchanged: runs that were so already.
        problems: one sentence for each run that could not be mirrored; the others were.
    """

    mirrored: int = 0
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        failed = len(self.problems)
        total = self.mirrored + self.unchanged + failed
        return f"{total} runs: {self.mirrored} mirrored, {self.unchanged} unchanged, {failed} not possible"


def sync(
    runs: Path,
    uri: str | None = None,
    *,
    patience: float = 20.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Mirrors every run that has begun into MLflow: each run once, each point once.

    It may be killed at any moment and repeated. Two passes over the same folder wait for each other.

    Args:
        runs: the folder of runs, which is only read but for `.sync` in it.
        uri: the tracking store, see `pebench.tracking.address.tracking_uri`.
        patience: seconds for which a request is repeated while the store does not answer.
        progress: told how many of the changed runs are done.

    Raises:
        UserError: there is no such folder or store.
        StoreUnavailableError: the store does not answer. What was mirrored until then stays.
    """
    if not runs.is_dir():
        raise UserError(
            f"there is no folder of runs at '{runs}': submit a sweep, or name the folder with --runs."
        )
    address = tracking_uri(runs, uri)
    with _alone(runs):
        mirror = Mirror(address, patience)
        path = memory.memory_file(runs, address)
        known = {name: seen for name, seen in memory.load(path).items() if mirror.holds(seen)}
        outcome = Outcome()
        changed = []
        sweeps = _sweeps_of_runs(runs)
        for folder in _folders(runs):
            signature = memory.signature(folder, sweeps[folder.run_id])
            seen = known.get(folder.run_id)
            if signature is not None and seen is not None and seen.signature == signature:
                outcome.unchanged += 1
            elif signature is not None:
                changed.append((folder, signature))
        try:
            _bring_all(mirror, changed, sweeps, known, outcome, path, progress)
        finally:
            if changed:
                memory.save(path, known)
    return outcome


def _bring_all(
    mirror: Mirror,
    changed: list[tuple[RunFolder, str]],
    sweeps: dict[str, list[str]],
    known: dict[str, Remembered],
    outcome: Outcome,
    path: Path,
    progress: Callable[[int, int], None],
) -> None:
    saved = time.monotonic()
    for done, (folder, signature) in enumerate(changed):
        progress(done, len(changed))
        try:
            record = read_record(folder, sweeps[folder.run_id])
            known[folder.run_id] = mirror.bring(folder, record, signature, known.get(folder.run_id))
            outcome.mirrored += 1
        except StoreUnavailableError:
            raise
        except (UserError, OSError) as error:
            outcome.problems.append(str(error))
        if time.monotonic() - saved > _SAVE_EVERY:
            memory.save(path, known)
            saved = time.monotonic()
    progress(len(changed), len(changed))


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Two passes at once could both find a run missing and make it twice."""
    from filelock import FileLock

    folder = runs / ".sync"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        yield


def _folders(runs: Path) -> Iterator[RunFolder]:
    for path in sorted(runs.glob("*/spec.json")):
        yield RunFolder(path.parent)


def _sweeps_of_runs(runs: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for sweep in read_sweeps(runs):
        for run_id in sweep.runs:
            names[run_id].append(sweep.name)
    return names
