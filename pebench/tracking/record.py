"""A run folder in the words of a tracking store: parameters, tags, points, status."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pebench.machine.environment import processor
from pebench.specification.flat_spec import settings
from pebench.specification.run_spec import RunSpec
from pebench.store.record_files import Unreadable
from pebench.store.records import Failure, Point, Result, Sample
from pebench.store.run_folder import RunFolder
from pebench.store.scores import default_extrapolation, extent_name, positions, score_name
from pebench.store.task_record import TaskRecord, task_record

UNSORTED = "pebench"
"""The experiment of runs that belong to no sweep."""

RUN_ID = "pebench.run_id"
ORIGIN = "pebench.origin"
RESULT = "pebench.result"
SWEEP = "pebench.sweep"
"""The tag of the run of a sweep itself, which none of its cells has."""


class Measured(NamedTuple):
    """One value of one metric, its time in milliseconds since the epoch."""

    metric: str
    step: int
    time: int
    value: float


class Headline(NamedTuple):
    """The metric that a task is judged by.

    Attributes:
        task: its name.
        metric: its name at the trained extent, or at the first evaluated one.
        scores: its names at every extent, by the encoding's default extrapolation.
        higher_is_better: which way is up.
    """

    task: str
    metric: str
    scores: tuple[str, ...]
    higher_is_better: bool


@dataclass(frozen=True)
class Record:
    """All that is mirrored of a run.

    Attributes:
        run_id: of the folder.
        name: for people.
        experiment: the first sweep, by name, that the run is a part of.
        parameters: the settings by dotted name.
        tags: what runs are filtered by; `ORIGIN` and `RESULT` among them tell one attempt from another.
        points: the metrics in file order, the final scores last. After a resume a step stands twice. A step
            is an update; of `by-tokens/…` it is a token, of `by-extent/…` a position, of `system/…` a second;
            of a score it is 0.
        status: in MLflow's words.
        start, end: milliseconds since the epoch; no end while the run goes on.
        headline: None before there is a result.
        data: fingerprints of the data that it read, by name.
    """

    run_id: str
    name: str
    experiment: str
    parameters: dict[str, str]
    tags: dict[str, str]
    points: list[Measured]
    status: str
    start: int
    end: int | None
    headline: Headline | None
    data: Mapping[str, str]


def read_record(folder: RunFolder, points: Sequence[Point], sweeps: Sequence[str]) -> Record:
    """Reads a run folder.

    Args:
        folder: of the run. points: its metrics, in file order.
        sweeps: the names of the sweeps that it is a part of, sorted.

    Raises:
        UserError: a file of the folder cannot be read.
    """
    spec, samples = folder.spec(), list(folder.samples())
    result, failure, stopped = folder.result(), folder.failure(), _is_stopped(folder)
    began = points[0].time if points else folder.path.joinpath("spec.json").stat().st_mtime
    ended = _end(points, result, failure, began)
    course = _with_course(points, spec.train.steps)
    scores = _scores(result, _milliseconds(ended or began), course) if result else []
    item = result.cost.item if result else folder.provenance().get("item")
    return Record(
        run_id=folder.run_id,
        name=f"{spec.encoding.label or spec.encoding.name} · {spec.task.name} · seed {spec.seed}",
        experiment=sweeps[0] if sweeps else UNSORTED,
        parameters=settings(spec),
        tags=_tags(folder, spec, result, failure, stopped, points, sweeps),
        points=_measured(points, course) + _by_items(points, item) + _load(samples) + scores,
        status="FINISHED" if result else "FAILED" if failure else "KILLED" if stopped else "RUNNING",
        start=_milliseconds(began),
        end=_milliseconds(ended) if ended is not None else None,
        headline=_headline(spec, task_record(spec, folder.provenance()), result) if result else None,
        data=folder.provenance().get("data", {}),
    )


def _tags(
    folder: RunFolder,
    spec: RunSpec,
    result: Result | None,
    failure: Failure | None,
    stopped: bool,
    points: Sequence[Point],
    sweeps: Sequence[str],
) -> dict[str, str]:
    provenance = folder.provenance()
    extent = task_record(spec, provenance).trained_extent
    commit = str(provenance.get("commit") or "")
    tags = {
        RUN_ID: folder.run_id,
        ORIGIN: _digest(points[0].model_dump_json()) if points else "",
        RESULT: _digest(result.model_dump_json()) if result else "",
        "group": spec.group,
        "encoding": spec.encoding.label or spec.encoding.name,
        "task": spec.task.name,
        "extent": extent_name(extent) if extent else "",
        "seed": str(spec.seed),
        "pebench.start": spec.start.run if spec.start else "",
        "status": result.status if result else "failed" if failure else "stopped" if stopped else "running",
        "sweep": ", ".join(sweeps),
        "commit": commit + ("+changes" if commit and provenance.get("dirty") else ""),
        "device": str(provenance.get("device") or ""),
        "processor": processor(provenance),
        "mlflow.source.name": "pebench",
        "mlflow.source.git.commit": commit,
        "mlflow.note.content": _note(folder, spec, result, failure),
    }
    # The empty ones of these have a meaning: a failed run that goes on is no longer described as failed.
    telling = {ORIGIN, RESULT, "mlflow.note.content"}
    return {name: value for name, value in tags.items() if value or name in telling}


def _is_stopped(folder: RunFolder) -> bool:
    """Whether the last worker has left the run before its end, at a checkpoint or for good."""
    worker = folder.worker()
    return folder.cancelled.exists() or (worker is not None and worker.over)


def _note(folder: RunFolder, spec: RunSpec, result: Result | None, failure: Failure | None) -> str:
    if result is not None:
        if result.status == "diverged":
            return f"diverged at step {result.diverged_at}"
        return _known_to(folder, spec, result)
    # MLflow takes no more than 8,000 characters.
    return failure.message[:4000] if failure is not None else ""


def _known_to(folder: RunFolder, spec: RunSpec, result: Result) -> str:
    """How well the headline of a finished run is known by the choice of its examples, empty where it kept
    none or they are damaged."""
    from pebench.leaderboard import sampling
    from pebench.leaderboard.run_data import RunData

    metric, default = next(iter(result.metrics), ""), default_extrapolation(result)
    try:
        run = RunData(folder.run_id, spec, result, examples=folder.examples())
    except Unreadable:
        return ""
    places = [
        (s.metric, s.extent, s.extrapolation)
        for s in result.scores
        if (s.metric, s.extrapolation) == (metric, default)
    ]
    widths = {at: sampling.half_width(by_unit) for at in places if (by_unit := run.by_unit(at)) is not None}
    if not widths:
        return ""
    unit = result.metrics[metric].unit
    fewest = min((run.counts(at) for at in widths), key=lambda counts: min(counts.values(), default=0))
    known = [
        f"{sampling.between([width], unit)} at {extent_name(at[1])}"
        for at, width in widths.items()
        if width > 0
    ]
    said = []
    if known:
        said.append(
            f"By the choice of the {sampling.counted(fewest)} alone, {metric} lies within {', '.join(known)} "
            "of that on all such (with 95 % confidence)."
        )
    if fewest and unit == "%" and 0.0 in widths.values():
        said.append(sampling.unanimous(min(fewest.values())))
    return " ".join(said)


def _end(
    points: Sequence[Point], result: Result | None, failure: Failure | None, began: float
) -> float | None:
    if result is not None:
        return points[-1].time if points else began
    return failure.time if failure is not None else None


def _with_course(points: Sequence[Point], updates: int) -> set[str]:
    """The metrics that are measured before the last update too. What is measured only after it has no course:
    at step 0 MLflow draws it as a bar."""
    return {name for point in points if point.step < updates for name in point.values}


def _measured(points: Sequence[Point], course: Collection[str]) -> list[Measured]:
    """A value that is no number has nothing to draw; the status tells of it."""
    return [
        Measured(name, point.step if _in_training(name, course) else 0, _milliseconds(point.time), value)
        for point in points
        for name, value in point.values.items()
        if value is not None
    ]


def _in_training(name: str, course: Collection[str]) -> bool:
    return name in course or name.startswith("train/")


def _by_items(points: Sequence[Point], item: str | None) -> list[Measured]:
    """The losses again, their step counted in items that were read, so that batch sizes do not matter.

    Args:
        points: of the run.
        item: the unit, as ``tokens``; None for an unfinished run of a version that did not record it.
    """
    return [
        Measured(f"by-{item}/{name}", point.items, _milliseconds(point.time), value)
        for point in points
        for name, value in point.values.items()
        if item is not None and name.startswith("train/") and name.endswith("loss") and value is not None
    ]


def _load(samples: Sequence[Sample]) -> list[Measured]:
    """The load of the machine, by whole seconds since the first look at it. MLflow shows `system/` apart."""
    began = samples[0].time if samples else 0.0
    return [
        Measured(f"system/{name}", round(sample.time - began), _milliseconds(sample.time), value)
        for sample in samples
        for name, value in sample.values.items()
    ]


def _scores(result: Result, time: int, course: Collection[str]) -> list[Measured]:
    """Those that have a course end it, and are there already."""
    default = default_extrapolation(result)
    scores = [(score, score.value) for score in result.scores if score.value is not None]
    named = [(score_name(score, default), value) for score, value in scores]
    found = [Measured(name, 0, time, value) for name, value in named if name not in course]
    # The headline once more, a step a position: MLflow draws the score against the extent.
    headline = next(iter(result.metrics), None)
    curve = [(score, value) for score, value in scores if score.metric == headline]
    for score, value in sorted(curve, key=lambda pair: positions(pair[0].extent)):
        name = score.metric if score.extrapolation == default else f"{score.metric}/{score.extrapolation}"
        found.append(Measured(f"by-extent/{name}", positions(score.extent), time, value))
    return found


def _headline(spec: RunSpec, task: TaskRecord, result: Result) -> Headline | None:
    default = default_extrapolation(result)
    metric = next(iter(result.metrics), None)
    scores = [s for s in result.scores if s.metric == metric and s.extrapolation == default]
    if metric is None or not scores:
        return None
    shown = next((score for score in scores if score.extent == task.trained_extent), scores[0])
    names = tuple(score_name(score, default) for score in scores)
    return Headline(
        spec.task.name, score_name(shown, default), names, result.metrics[metric].higher_is_better
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
