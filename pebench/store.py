"""The folder of a run. Files are the truth; everything else (MLflow, tables, status) is read from them.

runs/<id>/spec.json         what was asked for, with every default
          plugins/          copies of the plugin files it needs
          classes.json      names of the classes, if its model tells classes apart
          tokenizer.json    what turns text into the tokens of its model, if it reads text
          provenance.json   commit, versions, machine, data fingerprints
          changes.diff      how the code differed from its commit, if it did
          metrics.jsonl     one JSON object a line, only ever appended to
          curve.jsonl       scores during training, one JSON object a moment, likewise
          weights/          the weights of these moments, where they were to be kept
          system.jsonl      how busy the machine was, likewise
          log.txt           what a person may want to read
          worker.json       who works on it now, and when it last said so
          checkpoint/       the newest state to go on from; removed when the run is finished, weights kept
          continuation/     the state from which a run with more updates goes on, if its schedule allows that
          failure.json      why the last attempt ended, if it ended badly
          cancelled         if this cell alone was cancelled; removed when it is started again
          model.safetensors the trained weights
          examples.npz      scores of single documents, questions or pictures; see `pebench.example_scores`
          result.json       the scores; its presence is what "finished" means
runs/.sweeps/<name>.json    which runs a submitted sweep is made of
runs/.choices/<key>/        settings that were tuned, see `pebench.tuned_choices`
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from pebench import atomic, example_scores
from pebench.errors import FEW, UserError, shown, unknown
from pebench.example_scores import Examples
from pebench.numbers_of_json import beyond_numbers
from pebench.spec import Frozen, RunSpec

if TYPE_CHECKING:
    import pandas

Seconds = Annotated[float, Field(ge=0, le=1e11)]
"""Since the epoch, or for how long."""

Count = Annotated[int, Field(ge=0)]
Extent = tuple[Annotated[int, Field(ge=1)], ...]


class Unreadable(UserError):
    """A file of a run's folder is damaged. What reads one raises nothing else, so that who reads many runs
    can leave this one out, say so, and serve the others."""


class NoNumber(Unreadable):
    """A number in a file of a run is none, is infinite or has more digits than any that is written."""


class MetricRecord(Frozen):
    """How a metric is read; see `pebench.task.Metric`."""

    unit: str
    higher_is_better: bool


class Score(Frozen):
    """One number of a result.

    Attributes:
        metric: name, protocol included.
        extent: positions an axis it was measured at, or what the task counts in their place.
        extrapolation: the way past the trained extent, ``"extend"`` by default.
        value: finite, or None where the evaluation gave no number.
    """

    metric: str
    extent: Extent
    extrapolation: str
    value: float | None


class EvaluationCost(Frozen):
    """Cost of one evaluation.

    Attributes:
        fitted: numbers that the encoding set for it on examples that were held out, by name.
    """

    extent: Extent
    extrapolation: str
    items_per_second: float
    peak_memory_bytes: int | None
    kernels: tuple[str, ...]
    fitted: Mapping[str, float] = Field(default_factory=dict)


class Cost(Frozen):
    """Cost of a run beside its score.

    Attributes:
        parameters: of the whole model. encoding_parameters: of the encoding in it.
        item: what throughput counts.
        items_per_second: in training; None for a run that trained nothing.
        peak_memory_bytes: in training; None where it cannot be measured.
        kernels: attention kernels that training used.
        ranks: processes that shared each batch; the throughput is theirs together, the memory that of the one
            that took most.
        beside: the most other processes that computed on the GPU while it trained; None on a CPU, and where
            nobody tells. What trained beside others was slower than alone.
        evaluations: one entry an extent and extrapolation.
    """

    parameters: int
    encoding_parameters: int
    item: str
    items_per_second: float | None
    peak_memory_bytes: int | None
    kernels: tuple[str, ...]
    ranks: int = 1
    beside: int | None = None
    evaluations: tuple[EvaluationCost, ...]


class Result(Frozen):
    """The outcome of a finished run.

    Attributes:
        status: a run whose loss stopped being a number has `diverged`; that is a result, without scores.
        diverged_at: the step at which it did.
        extent_unit: what extents count.
        metrics: what the scores mean, by metric name, the headline first.
    """

    status: Literal["done", "diverged"]
    diverged_at: Count | None = None
    extent_unit: str = "positions"
    metrics: dict[str, MetricRecord]
    scores: tuple[Score, ...]
    cost: Cost

    def __repr__(self) -> str:
        """The headline at every extent of the default extrapolation, and how much else there is."""
        headline = next(iter(self.metrics), "")
        default = self.scores[0].extrapolation if self.scores else ""
        shown = [
            f"{'no number' if score.value is None else f'{score.value:.4g}'} at "
            f"{'x'.join(map(str, score.extent))}"
            for score in self.scores
            if (score.metric, score.extrapolation) == (headline, default)
        ]
        said = [self.status, *([f"{headline} {', '.join(shown)}"] if shown else [])]
        return f"Result({', '.join(said)}; {len(self.scores)} scores)"

    __str__ = __repr__

    def frame(self) -> pandas.DataFrame:
        """The scores: one row a metric, extent and extrapolation, with the unit and which way is up."""
        import pandas

        columns = ["metric", "extent", "extrapolation", "value", "unit", "higher_is_better"]
        rows = [
            (
                *(score.metric, "x".join(map(str, score.extent)), score.extrapolation, score.value),
                *(self.metrics[score.metric].unit, self.metrics[score.metric].higher_is_better),
            )
            for score in self.scores
        ]
        return pandas.DataFrame(rows, columns=columns).astype({"value": "float64"})


class Failure(Frozen):
    """Why an attempt ended without a result."""

    message: str
    time: Seconds


class Worker(Frozen):
    """Who works on a run.

    Attributes:
        token: drawn by each worker at its start; a worker that reads another's has been superseded.
        host, pid, job: where to find it; `job` is the scheduler's id, None without a scheduler.
        beat: seconds since the epoch when it last wrote this file.
        step: the step it was at, steps: the step it goes to.
        rate: steps a second.
        over: whether it has stopped working on the run, though its process may live on.
        failed: whether an error ended that, which failure.json tells unless it could not be written.
    """

    token: str
    host: str
    pid: int
    job: str | None
    beat: Seconds
    step: Count
    steps: Count
    rate: Annotated[float, Field(ge=0)] | None = None
    over: bool = False
    failed: bool = False


class Point(Frozen):
    """One line of metrics.jsonl.

    Attributes:
        step: updates done. items: tokens or images read. time: seconds since the epoch.
        values: value by metric name, as `train/loss` or `bits-per-byte/512`; a value that is no number is
            None.
    """

    step: Count
    items: Count
    time: Seconds
    values: dict[str, float | None]


class CurvePoint(Frozen):
    """One line of curve.jsonl: the scores after some updates.

    Attributes:
        step: updates done.
        items: tokens or images read.
        scores: all that the task measures.
    """

    step: Count
    items: Count
    scores: tuple[Score, ...]


class Sample(Frozen):
    """One line of system.jsonl.

    Attributes:
        time: seconds since the epoch.
        values: see `pebench.running.machine_load.MachineLoad`.
    """

    time: Seconds
    values: dict[str, float]


class _Provenance(BaseModel):
    """Keys that readers expect in a ``provenance.json``, which may hold more."""

    model_config = ConfigDict(extra="allow")

    data: dict[str, str] | None = None
    packages: dict[str, str | None] = {}
    machine: dict[str, Any] = {}
    commit: str | None = None
    dirty: bool | None = None


class SweepRecord(Frozen):
    """Record of what was submitted under the name of a sweep.

    Attributes:
        name: of the sweep.
        source: the text of its file.
        runs: the ids of its cells, in the order of the file; slots where a setting was still to be chosen.
        baseline: the encoding label that others are compared with, None to compare with none.
        trials: the ids of those cells that only settings were chosen by, see `pebench.tuned_choices`.
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


Record = TypeVar("Record", bound=BaseModel)


class RunFolder:
    """The folder of one run, by its path. Creating the object touches no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def plugins(self) -> Path:
        """Folder of the plugin files."""
        return self.path / "plugins"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.path / "model.safetensors"

    @property
    def cancelled(self) -> Path:
        """A file that is there while nobody is to work on the run."""
        return self.path / "cancelled"

    @property
    def log(self) -> Path:
        """The log."""
        return self.path / "log.txt"

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def curve_file(self) -> Path:
        """The scores during training, one JSON object a line."""
        return self.path / "curve.jsonl"

    @property
    def continuation(self) -> Path:
        """Folder of the state from which a run of more updates goes on."""
        return self.path / "continuation"

    def weights_after(self, step: int) -> Path:
        """The weights that were kept after an update."""
        return self.path / "weights" / f"step-{step:08d}.safetensors"

    @property
    def system(self) -> Path:
        """The load of the machine, one JSON object a line."""
        return self.path / "system.jsonl"

    def spec(self) -> RunSpec:
        """Specification of the run.

        Raises:
            Unreadable: there is no specification, or it cannot be read.
        """
        spec = self._read("spec.json", RunSpec)
        if spec is None:
            raise Unreadable(f"{self.path} is not a run folder: No such file or directory (spec.json).")
        return spec

    @property
    def is_finished(self) -> bool:
        """Whether there is a result, damaged or not."""
        return (self.path / "result.json").exists()

    def result(self) -> Result | None:
        """The outcome, None while there is none.

        Raises:
            Unreadable: there is one, but it is damaged. So it is of `failure` and `worker`.
        """
        return self._read("result.json", Result)

    def examples(self) -> tuple[Examples, ...]:
        """Scores of single examples behind those of the result; empty for a run that kept none.

        Raises:
            Unreadable: they are damaged.
        """
        path = self.path / "examples.npz"
        try:
            return example_scores.load(path.read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error
        except ValueError as error:
            raise Unreadable(f"{path} cannot be read: {shown(str(error))}.") from error

    def failure(self) -> Failure | None:
        """Why the last attempt ended badly, None if it did not."""
        return self._read("failure.json", Failure)

    def worker(self) -> Worker | None:
        """Who works on it or did last, None if nobody ever has."""
        return self._read("worker.json", Worker)

    def provenance(self) -> dict[str, Any]:
        """Where its numbers come from, empty before the first attempt.

        Raises:
            Unreadable: it is no JSON object of the known form.
        """
        found = self._read("provenance.json", _Provenance)
        value = {} if found is None else found.model_dump(exclude_unset=True)
        if value.get("data", "") is None:
            del value["data"]
        return value

    def points(self) -> Iterator[Point]:
        """The logged metrics, in file order. A line that a crash cut short is passed over; after a resume the
        same step stands twice, with the same values."""
        return _lines(self.metrics, Point)

    def samples(self) -> Iterator[Sample]:
        """The load of the machine, in file order."""
        return _lines(self.system, Sample)

    def curve(self) -> list[CurvePoint]:
        """The scores during training, each moment once, in order."""
        found = {point.step: point for point in _lines(self.curve_file, CurvePoint)}
        return [found[step] for step in sorted(found)]

    def create(self, spec: RunSpec, plugins: dict[str, bytes]) -> None:
        """Makes the folder, unless it is there already; the specification comes last and makes it
        complete."""
        self.plugins.parent.mkdir(parents=True, exist_ok=True)
        for name, content in plugins.items():
            self.plugins.mkdir(exist_ok=True)
            atomic.write_bytes(self.plugins / name, content)
        if not (self.path / "spec.json").exists():
            atomic.write_json(self.path / "spec.json", spec.model_dump(mode="json"))

    def append(self, point: Point) -> None:
        """Adds a line to the metrics in one write, after mending a line that a crash cut short."""
        finite = {name: _finite(value) for name, value in point.values.items()}
        _append(self.metrics, point.model_copy(update={"values": finite}))

    def append_to_curve(self, point: CurvePoint) -> None:
        """Adds a line to the scores during training."""
        scores = tuple(s.model_copy(update={"value": _finite(s.value)}) for s in point.scores)
        _append(self.curve_file, point.model_copy(update={"scores": scores}))

    def append_sample(self, sample: Sample) -> None:
        """Adds a line to the load of the machine."""
        _append(self.system, sample)

    def write_provenance(self, value: dict[str, Any]) -> None:
        """Records where the numbers come from."""
        atomic.write_json(self.path / "provenance.json", value)

    def write_changes(self, patch: str) -> None:
        """Records how the code differed from its commit; nothing is left of it where it did not."""
        if patch:
            atomic.write_text(self.path / "changes.diff", patch)
        else:
            (self.path / "changes.diff").unlink(missing_ok=True)

    def write_worker(self, worker: Worker) -> None:
        """Says who works on it."""
        atomic.write_json(self.path / "worker.json", worker.model_dump(mode="json"))

    def write_result(self, result: Result) -> None:
        """Finishes the run."""
        scores = tuple(s.model_copy(update={"value": _finite(s.value)}) for s in result.scores)
        result = result.model_copy(update={"scores": scores})
        atomic.write_text(self.path / "result.json", result.model_dump_json(indent=1) + "\n")
        (self.path / "failure.json").unlink(missing_ok=True)

    def write_examples(self, found: Sequence[Examples]) -> None:
        """Keeps the scores of single examples, before the result that is made from them."""
        if found:
            atomic.write_bytes(self.path / "examples.npz", example_scores.dump(found))

    def write_failure(self, message: str) -> None:
        """Records why an attempt ended badly; the log holds the rest."""
        failure = Failure(message=message, time=time.time())
        atomic.write_json(self.path / "failure.json", failure.model_dump(mode="json"))

    def clear_failure(self) -> None:
        """Forgets the last failure, at the start of a new attempt."""
        (self.path / "failure.json").unlink(missing_ok=True)

    def forget_progress(self) -> None:
        """Takes away what a run that is not finished has come to, so that it begins anew; its log stays."""
        for folder in (self.checkpoint, self.continuation, self.path / "weights"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in (
            *("failure.json", "evaluations.json", "curve.jsonl"),
            *("metrics.jsonl", "system.jsonl", "worker.json"),
        ):
            (self.path / name).unlink(missing_ok=True)

    def _read(self, name: str, model: type[Record]) -> Record | None:
        """
        Raises:
            Unreadable: the file is there, but is no such record.
        """
        path = self.path / name
        try:
            found = model.model_validate_json(path.read_bytes())
            beyond = beyond_numbers(found.model_dump())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error
        except ValidationError as error:
            raise Unreadable(f"{path} cannot be read: {error.errors()[0]['msg']}.") from error
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{path} cannot be read: {error}.") from error
        if beyond:
            raise NoNumber(f"{path} cannot be read: it holds {shown(beyond[0])}, which no run writes.")
        return found


def runs_folder() -> Path:
    """Where runs are kept: the environment variable PEBENCH_RUNS, or `runs` in the working folder."""
    return Path(os.environ.get("PEBENCH_RUNS", "runs"))


def find_run(runs: Path, name: str) -> RunFolder:
    """The run of that id, or of the only id that begins so.

    Raises:
        UserError: there is none or more than one.
    """
    ids = sorted(path.parent.name for path in runs.glob("*/spec.json"))
    matches = [run_id for run_id in ids if run_id == name] or [i for i in ids if i.startswith(name)]
    if len(matches) == 1:
        return RunFolder(runs / matches[0])
    if matches:
        raise UserError(f"'{name}' begins the ids of {len(matches)} runs: give more of it.")
    raise unknown("run", name, ids, listed=FEW)


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
    folder = RunFolder(runs / ".sweeps")
    found = (folder._read(path.name, SweepRecord) for path in sorted(folder.path.glob("*.json")))
    return [record for record in found if record is not None]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _lines(path: Path, model: type[Record]) -> Iterator[Record]:
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    try:
                        found = model.model_validate_json(line)
                    except ValidationError:
                        continue
                    if not beyond_numbers(found.model_dump()):
                        yield found
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error


def _append(path: Path, record: Frozen) -> None:
    line = record.model_dump_json() + "\n"
    with path.open("ab") as file:
        if file.tell() and not _ends_with_newline(path):
            line = "\n" + line
        file.write(line.encode())


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
