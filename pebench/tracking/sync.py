"""One pass over the run folders, which mirrors what has changed since the last one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pebench.errors import UserError
from pebench.notation.quantities import counted
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import submitted_sweeps
from pebench.tracking import sweep_results, sync_state
from pebench.tracking.address import tracking_uri
from pebench.tracking.mirror import Mirror
from pebench.tracking.mlflow_internals import Active, active_in_file
from pebench.tracking.prepare import Changed, Prepared, prepare_all
from pebench.tracking.retry import StoreUnavailableError
from pebench.tracking.sync_state import SyncedRun

_SAVE_EVERY = 5.0
"""Seconds between savings of the memory: what a killed pass repeats at most."""

_RUNS_TOGETHER = 16
_POINTS_TOGETHER = 20_000


@dataclass
class Outcome:
    """Result of one sync pass.

    Attributes:
        mirrored: runs that were brought up to date.
        unchanged: runs that were so already.
        sweeps: sweeps whose own run, which holds the results, was brought up to date.
        returned: runs among the mirrored ones that somebody had deleted in the store.
        returned_sweeps: sweeps whose own run somebody had.
        problems: one sentence for each run that could not be mirrored; the others were.
    """

    mirrored: int = 0
    unchanged: int = 0
    sweeps: int = 0
    returned: int = 0
    returned_sweeps: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        failed = len(self.problems)
        total = self.mirrored + self.unchanged + failed
        said = f"{counted(total, 'run')}: {self.mirrored} mirrored, {self.unchanged} unchanged"
        said += f", {failed} not possible"
        if self.sweeps:
            said += f"; {_results(self.sweeps)} mirrored"
        back = [counted(self.returned, "run")] if self.returned else []
        back += [_results(self.returned_sweeps)] if self.returned_sweeps else []
        return f"{said}; {' and '.join(back)} had been deleted there and came back" if back else said


def _results(sweeps: int) -> str:
    return f"results of {counted(sweeps, 'sweep')}"


def sync(
    runs: Path,
    uri: str | None = None,
    *,
    retry_seconds: float = 20.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Mirrors every run that has begun into MLflow: each run once, each point once.

    It may be killed at any moment and repeated. Two passes over the same folder wait for each other.

    Args:
        runs: the folder of runs, which is only read but for `.sync` in it.
        uri: the tracking store, see `pebench.tracking.address.tracking_uri`.
        retry_seconds: seconds for which a request is repeated while the store does not answer.
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
        path = sync_state.state_file(runs, address)
        known = sync_state.load(path)
        records = submitted_sweeps(runs)
        sweeps = _sweeps_of_runs(records)
        folders = (RunFolder(path.parent) for path in sorted(runs.glob("*/spec.json")))
        begun = [each for folder in folders if (each := _look(folder, sweeps[folder.run_id]))]
        there = active_in_file(address)
        if there is not None and not (
            _changed(begun, known.runs, there) or sweep_results.changed(runs, records, known.sweeps, there)
        ):
            return Outcome(unchanged=len(begun))
        mirror = Mirror(address, retry_seconds)
        active = mirror.active
        deleted = {run_id: seen for run_id, seen in known.runs.items() if seen.tracked not in active.runs}
        deleted_sweeps = {name for name, seen in known.sweeps.items() if seen.tracked not in active.runs}
        # Those of an experiment that is gone are looked for anew.
        there_still = {n: seen for n, seen in known.runs.items() if seen.experiment in active.experiments}
        known = known.model_copy(update={"runs": there_still})
        changed = _changed(begun, known.runs, active)
        outcome = Outcome(unchanged=len(begun) - len(changed))
        save = partial(sync_state.save, path, known)
        try:
            _bring_all(mirror, changed, known.runs, outcome, save, progress)
            outcome.returned = sum(n in known.runs and known.runs[n] is not deleted[n] for n in deleted)
            results = sweep_results.changed(runs, records, known.sweeps, active)
            for name, (record, signature) in results.items():
                try:
                    found = sweep_results.read(runs, record, sweeps, signature)
                    known.sweeps[name] = mirror.bring_sweep(found, known.sweeps.get(name))
                    outcome.sweeps += 1
                    outcome.returned_sweeps += name in deleted_sweeps
                except StoreUnavailableError:
                    raise
                except UserError as error:
                    outcome.problems.append(f"the results of sweep '{name}' could not be mirrored: {error}")
        finally:
            # What ended the pass is more to the point; without the memory the next one takes longer.
            with suppress(OSError):
                save()
    return outcome


def _bring_all(
    mirror: Mirror,
    changed: list[Changed],
    known: dict[str, SyncedRun],
    outcome: Outcome,
    save: Callable[[], None],
    progress: Callable[[int, int], None],
) -> None:
    saved, done = time.monotonic(), 0
    for batch in _batches(prepare_all(changed), outcome.problems):
        progress(done, len(changed))
        for run_id, brought in mirror.bring(batch, known).items():
            if isinstance(brought, SyncedRun):
                known[run_id] = brought
                outcome.mirrored += 1
            else:
                outcome.problems.append(str(brought))
        done += len(batch)
        if time.monotonic() - saved > _SAVE_EVERY:
            save()
            saved = time.monotonic()
    progress(len(changed), len(changed))


def _batches(
    prepared: Iterator[Prepared | UserError | OSError], problems: list[str]
) -> Iterator[list[Prepared]]:
    """Runs to be brought together, as many as a kill may well undo."""
    batch: list[Prepared] = []
    points = 0
    for each in prepared:
        if not isinstance(each, Prepared):
            problems.append(str(each))
            continue
        batch.append(each)
        points += len(each.record.points)
        if len(batch) == _RUNS_TOGETHER or points >= _POINTS_TOGETHER:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch


def _look(folder: RunFolder, sweeps: Sequence[str]) -> Changed | None:
    signature = sync_state.signature(folder, sweeps)
    return Changed(folder, sweeps, signature) if signature is not None else None


def _changed(begun: Iterable[Changed], known: Mapping[str, SyncedRun], active: Active) -> list[Changed]:
    """The runs that were not mirrored as they are now, or were deleted in the store since."""

    def is_current(run: Changed) -> bool:
        seen = known.get(run.folder.run_id)
        if seen is None or seen.signature != run.signature:
            return False
        return seen.experiment in active.experiments and seen.tracked in active.runs

    return [run for run in begun if not is_current(run)]


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Two passes at once could both find a run missing and make it twice."""
    from filelock import FileLock

    folder = runs / ".sync"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        yield


def _sweeps_of_runs(records: Iterable[SweepRecord]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for sweep in records:
        trials = set(sweep.trials)
        for run_id in sweep.runs:
            # Apart, so that whoever reads the store finds under the name of the sweep what is reported.
            names[run_id].append(sweep_results.trials_of(sweep.name) if run_id in trials else sweep.name)
    return names
