"""The folder of one run: what it holds, by name, and where such folders lie."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pebench import atomic
from pebench.errors import FEW, UserError, shown, unknown
from pebench.specification.run_spec import RunSpec
from pebench.store import example_scores
from pebench.store.example_scores import Examples
from pebench.store.record_files import Record, Unreadable, append_line, read_lines, read_record
from pebench.store.records import CurvePoint, Failure, Point, Provenance, Result, Sample, Worker


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

    def has_failed_since(self, time: float) -> bool:
        """Whether an attempt is known to have ended badly after a time, in seconds since the epoch."""
        with contextlib.suppress(Unreadable):
            failure = self.failure()
            return failure is not None and failure.time > time
        return False

    def worker(self) -> Worker | None:
        """Who works on it or did last, None if nobody ever has."""
        return self._read("worker.json", Worker)

    def provenance(self) -> dict[str, Any]:
        """Where its numbers come from, empty before the first attempt.

        Raises:
            Unreadable: it is no JSON object of the known form.
        """
        found = self._read("provenance.json", Provenance)
        value = {} if found is None else found.model_dump(exclude_unset=True)
        if value.get("data", "") is None:
            del value["data"]
        return value

    def points(self) -> Iterator[Point]:
        """The logged metrics, in file order. A line that a crash cut short is passed over; after a resume the
        same step stands twice, with the same values."""
        return read_lines(self.metrics, Point)

    def samples(self) -> Iterator[Sample]:
        """The load of the machine, in file order."""
        return read_lines(self.system, Sample)

    def curve(self) -> list[CurvePoint]:
        """The scores during training, each moment once, in order."""
        found = {point.step: point for point in read_lines(self.curve_file, CurvePoint)}
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
        append_line(self.metrics, point.model_copy(update={"values": finite}))

    def append_to_curve(self, point: CurvePoint) -> None:
        """Adds a line to the scores during training."""
        scores = tuple(s.model_copy(update={"value": _finite(s.value)}) for s in point.scores)
        append_line(self.curve_file, point.model_copy(update={"scores": scores}))

    def append_sample(self, sample: Sample) -> None:
        """Adds a line to the load of the machine."""
        append_line(self.system, sample)

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
        return read_record(self.path / name, model)


def runs_folder() -> Path:
    """Where runs are kept: the environment variable PEBENCH_RUNS, or `runs` in the working folder."""
    return Path(os.environ.get("PEBENCH_RUNS", "runs"))


def find_run(runs: Path, name: str) -> RunFolder:
    """The run of that id, or of the only id that begins so.

    Raises:
        UserError: there is none or more than one.
    """
    ids = sorted(path.parent.name for path in runs.glob("*/spec.json"))
    # An empty name, as of a variable that is not set, begins every id and means none.
    alike = [run_id for run_id in ids if name and run_id.startswith(name)]
    matches = [name] if name in ids else alike
    if len(matches) == 1:
        return RunFolder(runs / matches[0])
    if matches:
        raise UserError(f"'{name}' begins the ids of {len(matches)} runs: give more of it.")
    raise unknown("run", name, ids, listed=FEW)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
