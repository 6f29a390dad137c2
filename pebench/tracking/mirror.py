"""Brings a tracking store in line with what a run folder says. Every step can be repeated without harm."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pebench.errors import UserError
from pebench.store import RunFolder
from pebench.tracking import plot
from pebench.tracking.address import connect, without_secrets
from pebench.tracking.experiments import Experiments
from pebench.tracking.memory import Remembered
from pebench.tracking.patience import Patience
from pebench.tracking.record import ORIGIN, RESULT, RUN_ID, Measured, Record

if TYPE_CHECKING:
    from mlflow.entities import Run

_METRICS_A_BATCH = 1000
_PARAMETERS_A_BATCH = 100
_FILES = ("spec.json", "provenance.json", "result.json", "log.txt")

Item = TypeVar("Item")


class Mirror:
    """A tracking store during one pass over the run folders.

    Args:
        uri: its address.
        patience: seconds for which a request is repeated while the store does not answer.

    Raises:
        UserError: the store does not answer or refuses.
    """

    def __init__(self, uri: str, patience: float) -> None:
        self._uri = uri
        self._ask = Patience(uri, patience).ask
        self._client = self._ask(lambda: connect(uri))
        self._experiments = self._ask(lambda: Experiments(self._client, uri))
        self._seen_experiments = self._experiments.keys()

    def holds(self, remembered: Remembered) -> bool:
        """Whether the experiment in which the run was last seen still is in this store."""
        return remembered.experiment in self._seen_experiments

    def bring(
        self, folder: RunFolder, record: Record, signature: str, known: Remembered | None
    ) -> Remembered:
        """Makes the run in the store what its folder says.

        Args:
            folder: whose files are copied.
            record: what it says, read after `signature` was taken.
            signature: see `pebench.tracking.memory.signature`.
            known: what is remembered of the run, None if nothing is.

        Returns:
            What to remember.

        Raises:
            UserError: the store holds another attempt at the same run, does not answer, or refuses.
        """
        run = self._ask(lambda: self._present(record, known))
        if run is None:
            run = self._create(record)
        tracked = run.info.run_id
        same = known is not None and known.tracked == tracked
        self._describe(tracked, record)
        steps = self._log(tracked, record.points, known.steps if known is not None and same else {})
        if not same or record.end is not None:
            self._copy_files(tracked, folder, record)
        self._set_status(run, record)
        if record.headline is not None:
            headline = record.headline
            self._ask(lambda: self._experiments.provide(record.experiment))
            self._ask(lambda: self._experiments.arrange(record.experiment, headline))
        key = self._experiments.key(run.info.experiment_id)
        return Remembered(tracked=tracked, experiment=key, signature=signature, steps=steps)

    def _present(self, record: Record, known: Remembered | None) -> Run | None:
        """The run in the store; None if it is not there, or the folder was begun anew since."""
        remembered = self._active(known.tracked) if known is not None else None
        run = remembered or self._active(self._tracked.get(record.run_id))
        if run is None or _continues(run, record):
            return run
        if remembered is None:
            raise UserError(
                f"{record.run_id} is in {without_secrets(self._uri)} from another attempt: delete run "
                f"{run.info.run_id} there to mirror this one."
            )
        self._client.delete_run(run.info.run_id)
        return None

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

    def _search(self, condition: str) -> list[Run]:
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                self._experiments.ids(), condition, max_results=1000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

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
                tags={RUN_ID: record.run_id},
            )

        return self._ask(create)

    def _describe(self, tracked: str, record: Record) -> None:
        """Parameters and tags. The tags that tell attempts apart are there before any point is."""
        from mlflow.entities import Param, RunTag

        tags = [RunTag(name, value) for name, value in record.tags.items()]
        self._ask(lambda: self._client.log_batch(tracked, tags=tags))
        parameters = [Param(name, value) for name, value in sorted(record.parameters.items())]
        for batch in _batches(parameters, _PARAMETERS_A_BATCH):
            self._ask(partial(self._client.log_batch, tracked, params=batch))

    def _log(self, tracked: str, points: Iterable[Measured], past: dict[str, int]) -> dict[str, int]:
        """Logs the points past the last mirrored step of their metric, and returns the new last steps.

        A point that does not lie past it repeats a step, after a resume. A point that is logged again after a
        kill is the same row in the store, for its time is that of the file.
        """
        from mlflow.entities import Metric

        steps = dict(past)
        new = []
        for point in points:
            if point.step > steps.get(point.metric, -1):
                steps[point.metric] = point.step
                new.append(Metric(point.metric, point.value, point.time, point.step))
        for batch in _batches(new, _METRICS_A_BATCH):
            self._ask(partial(self._client.log_batch, tracked, metrics=batch))
        return steps

    def _copy_files(self, tracked: str, folder: RunFolder, record: Record) -> None:
        with tempfile.TemporaryDirectory(prefix="pebench-sync-") as name:
            staged = Path(name)
            for file in _FILES:
                if (folder.path / file).exists():
                    shutil.copyfile(folder.path / file, staged / file)
            if record.tags[RESULT]:
                plot.draw(folder, record.name, staged / "plot.png")
            self._ask(lambda: self._client.log_artifacts(tracked, name))

    def _set_status(self, run: Run, record: Record) -> None:
        tracked = run.info.run_id
        if record.end is not None:
            self._ask(lambda: self._client.set_terminated(tracked, record.status, record.end))
        elif run.info.status != record.status:
            self._ask(lambda: self._client.update_run(tracked, status=record.status))


def _continues(run: Run, record: Record) -> bool:
    """Whether the run in the store is the attempt of which the folder now says more."""
    return all(run.data.tags.get(tag, "") in ("", record.tags[tag]) for tag in (ORIGIN, RESULT))


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
