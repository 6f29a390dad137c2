"""Records that the folder of a run is made of, each the form of one file or of one line of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pebench.notation.significant_figures import significant
from pebench.specification.run_spec import Frozen

if TYPE_CHECKING:
    import pandas

Seconds = Annotated[float, Field(ge=0, le=1e11)]
"""Since the epoch, or for how long."""

Count = Annotated[int, Field(ge=0)]
Extent = tuple[Annotated[int, Field(ge=1)], ...]


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
            f"{'no number' if score.value is None else significant(score.value, 4)} at "
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


class Provenance(BaseModel):
    """Keys that readers expect in a ``provenance.json``, which may hold more."""

    model_config = ConfigDict(extra="allow")

    data: dict[str, str] | None = None
    packages: dict[str, str | None] = {}
    machine: dict[str, Any] = {}
    commit: str | None = None
    dirty: bool | None = None
