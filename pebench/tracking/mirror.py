"""Brings a tracking store in line with what run folders say. Every step can be repeated without harm."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pebench.errors import UserError
from pebench.tracking.address import connect, database_file, without_secrets
from pebench.tracking.experiments import Experiments
from pebench.tracking.mlflow_internals import Active, LogPoints, transaction
from pebench.tracking.paging import all_pages
from pebench.tracking.prepare import Prepared
from pebench.tracking.record import ORIGIN, RESULT, RUN_ID, SWEEP, Measured, Record
from pebench.tracking.retry import Retry, StoreUnavailableError
from pebench.tracking.sync_state import SyncedRun

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Metric, Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.store.entities import PagedList

    from pebench.tracking.sweep_results import SweepResults

_AT_ONCE = 4
"""Runs that a server is given at once. It loses its own database's connections from about 15 requests on."""

_A_REQUEST = 1000
"""Metrics that MLflow takes together."""

_FILES = (
    *("spec.json", "provenance.json", "metrics.jsonl", "examples.npz"),
    *("curve.jsonl", "result.json", "log.txt"),
)

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class _Written:
    """A run in the store, by its id and its experiment's; where its files are; the last step of each metric;
    whether its files are still to be copied."""

    tracked: str
    experiment: str
    artifacts: str
    steps: dict[str, int]
    files: bool


class Mirror:
    """A tracking store during one pass over the run folders.

    Args:
        uri: its address.
        retry_seconds: seconds for which a request is repeated while the store does not answer.

    Raises:
        UserError: the store does not answer or refuses.
    """

    def __init__(self, uri: str, retry_seconds: float) -> None:
        self._uri = uri
        self._retry = Retry(uri, retry_seconds).call
        self._client = self._retry(lambda: connect(uri))
        self._experiments = self._retry(lambda: Experiments(self._client, uri))
        self._searching = threading.Lock()
        self._active_at_start = self._retry(self._look)
        # SQLite has one writer at a time, and one transaction for many runs waits for the disk but once.
        self._in_one_transaction = database_file(uri) is not None

    @property
    def active(self) -> Active:
        """What was in the store when the pass began."""
        return self._active_at_start

    def _look(self) -> Active:
        of_sweeps = {run.info.run_id for run in self._search(f"tags.`{SWEEP}` != ''")}
        return Active(self._experiments.keys(), frozenset({*self._tracked.values(), *of_sweeps}))

    def bring(
        self, batch: Sequence[Prepared], known: Mapping[str, SyncedRun]
    ) -> dict[str, SyncedRun | UserError]:
        """Makes runs in the store what their folders say.

        Args:
            batch: the runs.
            known: what is remembered, by run id.

        Returns:
            What to remember of each run, by its id, or why the store does not take it.

        Raises:
            StoreUnavailableError: the store does not answer. What was written stays, and is found again.
        """
        there = set(self._experiments.ids())
        for name in dict.fromkeys(prepared.record.experiment for prepared in batch):
            self._retry(partial(self._experiments.provide, name))
        if not there.issuperset(self._experiments.ids()):
            # One that comes out of the bin brings its runs along.
            self.__dict__.pop("_tracked", None)
            self.__dict__.pop("_binned", None)
        written = self._retry(partial(self._write_all, batch, known))
        copied = self._each(self._copy_files, list(zip(batch, written, strict=True)))
        for record in (prepared.record for prepared in batch):
            if record.headline is not None:
                self._retry(partial(self._experiments.arrange, record.experiment, record.headline))
        outcomes = {}
        for prepared, outcome in zip(batch, copied, strict=True):
            outcomes[prepared.record.run_id] = (
                self._to_remember(prepared, outcome) if isinstance(outcome, _Written) else outcome
            )
        return outcomes

    def bring_sweep(self, results: SweepResults, known: SyncedRun | None) -> SyncedRun:
        """Makes the run of a sweep itself what its results are.

        Args:
            results: of the sweep.
            known: what is remembered of that run.

        Raises:
            UserError: the store does not take it.
        """
        place = self._retry(partial(self._experiments.provide, results.sweep))
        run = self._run_of_sweep(results.sweep, place, known)
        tags = {"status": f"{results.finished}/{results.cells}", "mlflow.note.content": results.note}
        for name, text in tags.items():
            if run.data.tags.get(name) != text:
                self._retry(partial(self._client.set_tag, run.info.run_id, name, text))
        for name, text in results.files.items():
            self._retry(partial(self._client.log_text, run.info.run_id, text, name))
        status = "FINISHED" if results.finished == results.cells else "RUNNING"
        if run.info.status != status:
            self._retry(partial(self._client.update_run, run.info.run_id, status=status))
        return SyncedRun(
            tracked=run.info.run_id,
            experiment=self._experiments.key(place),
            signature=results.signature,
            steps={},
        )

    def _run_of_sweep(self, sweep: str, place: str, known: SyncedRun | None) -> Run:
        from mlflow.entities import ViewType

        def found(view: int) -> Run | None:
            condition = f"tags.`{SWEEP}` = '{sweep}'"
            return next(iter(self._client.search_runs([place], condition, view, max_results=1)), None)

        remembered = self._retry(partial(self._active, known.tracked)) if known is not None else None
        if remembered is not None:
            return remembered
        if (there := self._retry(partial(found, ViewType.ACTIVE_ONLY))) is not None:
            return there
        if (binned := self._retry(partial(found, ViewType.DELETED_ONLY))) is not None:
            self._retry(partial(self._client.restore_run, binned.info.run_id))
            return self._retry(partial(self._client.get_run, binned.info.run_id))
        attempts = itertools.count()
        tags = {SWEEP: sweep, "sweep": sweep, "mlflow.source.name": "pebench"}

        def create() -> Run:
            # The request before this one got no answer, but the store may have carried it out.
            made = found(ViewType.ACTIVE_ONLY) if next(attempts) else None
            return made or self._client.create_run(place, run_name=f"all of {sweep}", tags=tags)

        return self._retry(create)

    def _to_remember(self, prepared: Prepared, written: _Written) -> SyncedRun:
        return SyncedRun(
            tracked=written.tracked,
            experiment=self._experiments.key(written.experiment),
            signature=prepared.changed.signature,
            steps=written.steps,
        )

    def _write_all(
        self, batch: Sequence[Prepared], known: Mapping[str, SyncedRun]
    ) -> list[_Written | UserError]:
        with self._together() as log_points:

            def write(prepared: Prepared) -> _Written:
                return self._write(prepared.record, known.get(prepared.record.run_id), log_points)

            return self._each(write, batch)

    def _together(self) -> AbstractContextManager[LogPoints]:
        return transaction(self._client) if self._in_one_transaction else nullcontext(self._log_points)

    def _each(self, action: Callable[[Item], Value], items: Sequence[Item]) -> list[Value | UserError]:
        """The value of an action for each item, or why the store refuses; as many at once as it bears.

        Raises:
            StoreUnavailableError: the store does not answer.
        """

        def attempt(item: Item) -> Value | UserError:
            try:
                return action(item)
            except StoreUnavailableError:
                raise
            except UserError as error:
                return error

        if self._in_one_transaction:
            return [attempt(item) for item in items]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(attempt, items))

    def _write(self, record: Record, known: SyncedRun | None, log_points: LogPoints) -> _Written:
        """All of a run but its files.

        Raises:
            UserError: the store holds another attempt at the same run, does not answer, or refuses.
        """
        run = self._retry(lambda: self._present(record, known))
        if run is None:
            run = self._create(record)
        tracked = run.info.run_id
        same = known is not None and known.tracked == tracked
        steps, points = _new_points(record.points, known.steps if known is not None and same else {})
        self._log(run, record, points, log_points)
        self._set_status(run, record)
        files = not same or record.end is not None
        return _Written(tracked, run.info.experiment_id, run.info.artifact_uri, steps, files)

    def _present(self, record: Record, known: SyncedRun | None) -> Run | None:
        """The run in the store; None if it is not there, or the folder was begun anew since."""
        remembered = self._active(known.tracked) if known is not None else None
        with self._searching:
            tracked = None if remembered else self._tracked.get(record.run_id)
        run = remembered or self._active(tracked)
        place = self._experiments.provide(record.experiment)
        if run is None:
            return self._taken_from_bin(record, place)
        if _continues(run, record):
            if run.info.experiment_id == place:
                return run
            # Runs cannot be moved. It stands where it would if it were mirrored for the first time.
            self._client.delete_run(run.info.run_id)
            return self._taken_from_bin(record, place)
        if remembered is None:
            raise UserError(
                f"{record.run_id} is in {without_secrets(self._uri)} from another attempt: delete run "
                f"{run.info.run_id} there to mirror this one."
            )
        self._client.delete_run(run.info.run_id)
        return None

    def _taken_from_bin(self, record: Record, place: str) -> Run | None:
        """The run of the folder that somebody deleted in that experiment, which is there again from now on;
        None if there is none. So it never is there twice, if it is taken out of the bin by hand too."""
        with self._searching:
            binned = self._binned.pop((record.run_id, place), None)
        if binned is None or not _continues(binned, record):
            return None
        self._client.restore_run(binned.info.run_id)
        return self._client.get_run(binned.info.run_id)

    def _active(self, tracked: str | None) -> Run | None:
        from mlflow.exceptions import MlflowException

        if tracked is None:
            return None
        try:
            run = self._client.get_run(tracked)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    @cached_property
    def _tracked(self) -> dict[str, str]:
        """The store's id of every mirrored run, by run id. Where a slow server made two of one, one stays."""
        found: dict[str, str] = {}
        for run in sorted(self._search(f"tags.`{RUN_ID}` != ''"), key=lambda run: str(run.info.run_id)):
            if found.setdefault(run.data.tags[RUN_ID], run.info.run_id) != run.info.run_id:
                self._client.delete_run(run.info.run_id)
        return found

    @cached_property
    def _binned(self) -> dict[tuple[str, str], Run]:
        """The deleted runs by run id and experiment, of several the one that was begun last."""
        from mlflow.entities import ViewType

        found = self._search(f"tags.`{RUN_ID}` != ''", ViewType.DELETED_ONLY)
        ordered = sorted(found, key=lambda run: (run.info.start_time, str(run.info.run_id)))
        return {(run.data.tags[RUN_ID], run.info.experiment_id): run for run in ordered}

    def _search(self, condition: str, view: int = 1) -> list[Run]:
        """Runs of all experiments; 1 is `ViewType.ACTIVE_ONLY`."""
        ids = self._experiments.ids()

        def search(token: str | None) -> PagedList[Run]:
            return self._client.search_runs(ids, condition, view, max_results=1000, page_token=token)

        return list(all_pages(search))

    def _create(self, record: Record) -> Run:
        attempts = itertools.count()

        def create() -> Run:
            if next(attempts):
                # The request before this one got no answer, but the store may have carried it out.
                made = self._search(f"tags.`{RUN_ID}` = '{record.run_id}'")
                if made:
                    return made[0]
            return self._client.create_run(
                self._experiments.provide(record.experiment),
                start_time=record.start,
                run_name=record.name,
                # What tells attempts apart is there before any point is.
                tags=record.tags,
            )

        return self._retry(create)

    def _log(self, run: Run, record: Record, points: Sequence[Measured], log_points: LogPoints) -> None:
        """Logs what the store lacks, in as few requests as it takes.

        A point that is logged again after a kill is the same row in the store, for its time is that of the
        file.
        """
        from mlflow.entities import DatasetInput, Param, RunTag

        tracked, there = run.info.run_id, run.data
        tags = [RunTag(name, text) for name, text in record.tags.items() if there.tags.get(name) != text]
        parameters = [
            Param(n, text) for n, text in sorted(record.parameters.items()) if n not in there.params
        ]
        last = {point.metric: point for point in points}
        scores = record.headline.scores if record.headline is not None else ()
        # MLflow compares runs by the metric that came first, until another is chosen.
        ordered = _metrics(sorted(last.values(), key=lambda point: point.metric not in scores))
        self._retry(partial(self._client.log_batch, tracked, ordered, parameters, tags))
        log_points(tracked, [point for point in points if last[point.metric] is not point])
        inputs = run.inputs.dataset_inputs if run.inputs is not None else []
        known = {(each.dataset.name, each.dataset.digest) for each in inputs}
        if datasets := [data for data in _datasets(record) if (data.name, data.digest) not in known]:
            used = [DatasetInput(data) for data in datasets]
            self._retry(partial(self._client.log_inputs, tracked, used))

    def _log_points(self, tracked: str, points: Sequence[Measured]) -> None:
        for start in range(0, len(points), _A_REQUEST):
            some = _metrics(points[start : start + _A_REQUEST])
            self._retry(partial(self._client.log_batch, tracked, some))

    def _set_status(self, run: Run, record: Record) -> None:
        tracked, there = run.info.run_id, (run.info.status, run.info.end_time)
        if record.end is not None and there != (record.status, record.end):
            self._retry(lambda: self._client.set_terminated(tracked, record.status, record.end))
        elif record.end is None and run.info.status != record.status:
            self._retry(lambda: self._client.update_run(tracked, status=record.status))

    def _artifacts(self, place: str) -> ArtifactRepository:
        """The files of a run. The client would read the whole run again to find where they are."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(place, tracking_uri=self._uri)

    def _copy_files(self, pair: tuple[Prepared, _Written | UserError]) -> _Written:
        prepared, written = pair
        if isinstance(written, UserError):
            raise written
        if written.files:
            with tempfile.TemporaryDirectory(prefix="pebench-sync-") as name:
                for file in _FILES:
                    with suppress(FileNotFoundError):
                        shutil.copyfile(prepared.changed.folder.path / file, Path(name) / file)
                if prepared.picture is not None:
                    (Path(name) / "plot.svg").write_bytes(prepared.picture)
                if self._in_one_transaction:
                    artifacts = self._artifacts(written.artifacts)
                    self._retry(lambda: artifacts.log_artifacts(name))  # type: ignore[no-untyped-call]
                    return written
                # One by one: a server that fails now and then might never take all of them in one go.
                for path in sorted(Path(name).iterdir()):
                    self._retry(partial(self._client.log_artifact, written.tracked, str(path)))
        return written


def _new_points(points: Iterable[Measured], past: Mapping[str, int]) -> tuple[dict[str, int], list[Measured]]:
    """The last step of each metric, and the points past the last mirrored one.

    A point that does not lie past it repeats a step, after a resume.
    """
    steps, new = dict(past), []
    for point in points:
        if point.step > steps.get(point.metric, -1):
            steps[point.metric] = point.step
            new.append(point)
    return steps, new


def _metrics(points: Iterable[Measured]) -> list[Metric]:
    """Points in MLflow's words."""
    from mlflow.entities import Metric

    return [Metric(point.metric, point.value, point.time, point.step) for point in points]


def _datasets(record: Record) -> list[Dataset]:
    """The data of a run in MLflow's words, which has room for 36 letters of a fingerprint."""
    from mlflow.entities import Dataset

    return [
        Dataset(name[:500], fingerprint[:36], "local", json.dumps({"fingerprint": fingerprint}))
        for name, fingerprint in sorted(record.data.items())
    ]


def _continues(run: Run, record: Record) -> bool:
    """Whether the run in the store is the attempt of which the folder now says more."""
    return all(run.data.tags.get(tag, "") in ("", record.tags[tag]) for tag in (ORIGIN, RESULT))
