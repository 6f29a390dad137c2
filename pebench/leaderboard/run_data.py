"""The data of one run, wherever it was read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pebench.leaderboard.paired_test import ROUNDING, Sample
from pebench.leaderboard.sampling import material
from pebench.notation.brevity import briefly
from pebench.specification.run_spec import RunSpec
from pebench.store.example_scores import ByUnit, Examples
from pebench.store.record_files import Unreadable
from pebench.store.records import CurvePoint, Point, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.task_record import TaskRecord, task_record
from pebench.sweeping.recorded import submitted_specs

MISSING = "missing"
"""The status of a run without a result; the others are those of `pebench.store.records.Result`."""

Place = tuple[str, tuple[int, ...], str]
"""Where a score was measured: metric, extent, extrapolation."""


@dataclass(frozen=True)
class RunData:
    """The files of one run that results are made from.

    Attributes:
        run_id: of the run.
        spec: what was asked for.
        result: what came out, None while there is nothing.
        provenance: where it comes from, see `pebench.running.provenance.describe`; empty before it began.
        failure: why its last attempt ended, empty if it did not end badly.
        examples: scores of single examples; empty for a run that kept none.
        rounding: of its scores, relative to them; two that are closer are equal.
        points: reads what it logged, in order; see `pebench.store.run_folder.RunFolder.points`.
        curve: its scores during training, in order; empty where nobody asked for them.
    """

    run_id: str
    spec: RunSpec
    result: Result | None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    examples: tuple[Examples, ...] = ()
    rounding: float = ROUNDING
    points: Callable[[], Iterable[Point]] = tuple
    curve: tuple[CurvePoint, ...] = ()

    @cached_property
    def group(self) -> str:
        """See `pebench.specification.run_spec.RunSpec.group`."""
        return self.spec.group

    @cached_property
    def task(self) -> TaskRecord:
        """The record of its task."""
        return task_record(self.spec, self.provenance)

    @property
    def encoding(self) -> str:
        """The encoding's label."""
        return self.spec.encoding.label or self.spec.encoding.name

    @property
    def status(self) -> str:
        """That of its result, or `MISSING`."""
        return self.result.status if self.result is not None else MISSING

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the data that it read, by name."""
        data = self.provenance.get("data")
        return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}

    @cached_property
    def scores(self) -> dict[Place, float]:
        """The scores by place; NaN for an evaluation that gave no number."""
        return by_place(self.result.scores if self.result is not None else ())

    @cached_property
    def _by_place(self) -> dict[Place, Examples]:
        return {
            (ratio.metric, one.extent, one.extrapolation): one
            for one in self.examples
            for ratio in one.ratios
        }

    @cached_property
    def _by_unit(self) -> dict[Place, ByUnit | None]:
        return {}

    def by_unit(self, place: Place) -> ByUnit | None:
        """A score by document, or what else its examples belong to; None where that is not known."""
        if not self.examples:
            return None
        if place not in self._by_unit:
            found = self._by_place.get(place)
            self._by_unit[place] = found.by_unit(place[0]) if found is not None else None
        return self._by_unit[place]

    def counts(self, place: Place) -> Mapping[str, int]:
        """How many tokens, windows, documents or other things a score is of; empty where that is not
        known."""
        found = self._by_place.get(place)
        return found.counts if found is not None else {}


def by_place(scores: Iterable[Score]) -> dict[Place, float]:
    """Scores by place; NaN for an evaluation that gave no number."""
    return {
        (score.metric, score.extent, score.extrapolation): math.nan if score.value is None else score.value
        for score in scores
    }


def sample(runs: Iterable[RunData], group: str, place: Place) -> Sample:
    """The scores by seed of the runs of one group at one place."""
    runs = list(runs)
    return Sample(
        (group, place),
        {run.spec.seed: run.scores.get(place, math.nan) for run in runs},
        {run.spec.seed: found for run in runs if (found := run.by_unit(place)) is not None},
        max((run.rounding for run in runs), default=ROUNDING),
        material(name for run in runs for name in run.counts(place)),
    )


class Folders(NamedTuple):
    """Data in the folders of runs.

    Attributes:
        runs: the data of each run.
        warnings: a sentence for each run that says too little.
        unreadable: ids of the runs that are damaged.
    """

    runs: list[RunData]
    warnings: list[str]
    unreadable: list[str]


def from_folders(runs: Path, sweep: SweepRecord) -> Folders:
    """Reads the folders of a sweep's runs.

    A run whose folder or specification is gone counts as not begun, if the sweep still says what it was; one
    with another damage counts as not finished.

    Args:
        runs: the folder of runs. sweep: which of them.
    """
    found: list[RunData] = []
    warnings: list[str] = []
    unreadable: list[str] = []
    written: dict[str, RunSpec] | None = None
    for run_id in sweep.runs:
        folder = RunFolder(runs / run_id)
        try:
            spec = folder.spec()
        except Unreadable as error:
            written = submitted_specs(sweep, runs) if written is None else written
            if run_id not in written or (folder.path / "spec.json").exists():
                unreadable.append(run_id)
            if run_id in written:
                warnings.append(f"Cell {run_id} counts as not begun: {_below(runs, error)}")
                found.append(RunData(run_id, written[run_id], None, failure=_below(runs, error)))
            else:
                warnings.append(f"Cell {run_id} is left out: {_below(runs, error)}")
            continue
        try:
            read = _read(folder, spec)
        except Unreadable as error:
            warnings.append(f"Cell {run_id} counts as not finished: {_below(runs, error)}")
            unreadable.append(run_id)
            found.append(RunData(run_id, spec, None, failure=_below(runs, error)))
            continue
        if read.result is not None:
            examples, trouble = _examples(folder)
            warnings += [trouble] if trouble else []
            read = replace(read, examples=examples)
        found.append(read)
    return Folders(found, warnings, unreadable)


def _read(folder: RunFolder, spec: RunSpec) -> RunData:
    result = folder.result()
    failure = folder.failure() if result is None else None
    message = briefly(failure.message) if failure is not None else ""
    return RunData(
        folder.run_id,
        spec,
        result,
        folder.provenance(),
        message,
        points=folder.points,
        curve=tuple(folder.curve()),
    )


def _below(runs: Path, error: Unreadable) -> str:
    """The error with paths below the folder of the runs: pages are read on other machines."""
    return str(error).replace(f"{runs}{os.sep}", "")


def _examples(folder: RunFolder) -> tuple[tuple[Examples, ...], str]:
    """The scores of single examples, and a sentence where there are none that can be read."""
    try:
        return folder.examples(), ""
    except Unreadable as error:
        told = _below(folder.path.parent, error)
        return (), f"The intervals of {folder.run_id} come from seeds alone: {told}"
