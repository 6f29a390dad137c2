"""The evaluations of a run that are done, kept from attempt to attempt until its result holds them."""

from __future__ import annotations

import torch
from pydantic import BaseModel
from torch import nn

from pebench import atomic
from pebench.position_encoding import Extrapolation
from pebench.running.evaluate import evaluate
from pebench.store.example_scores import Examples
from pebench.store.records import EvaluationCost, MetricRecord, Score
from pebench.store.run_folder import RunFolder
from pebench.task import AnyTask

_FILE = "evaluations.json"


class Evaluations(BaseModel):
    """Some evaluations.

    Attributes:
        step: the update after which they were made, None in files of versions that evaluated at the end
            alone.
        scores: that were found.
        costs: one an evaluation.
        metrics: what the scores mean, by metric name.
        examples: scores of single examples.
    """

    step: int | None = None
    scores: list[Score] = []
    costs: list[EvaluationCost] = []
    metrics: dict[str, MetricRecord] = {}
    examples: list[Examples] = []

    @staticmethod
    def read(folder: RunFolder, step: int) -> Evaluations:
        """Those of earlier attempts at a run after an update."""
        path = folder.path / _FILE
        if path.exists():
            found = Evaluations.model_validate_json(path.read_bytes())
            if found.step in (step, None):
                return found
        return Evaluations(step=step)

    def write(self, folder: RunFolder) -> None:
        """Keeps them for later attempts."""
        atomic.write_text(folder.path / _FILE, self.model_dump_json())

    @staticmethod
    def clear(folder: RunFolder) -> None:
        """Removes them, for the result holds them."""
        (folder.path / _FILE).unlink(missing_ok=True)

    def take(self, other: Evaluations) -> None:
        """Adds those of another."""
        self.scores += other.scores
        self.costs += other.costs
        self.metrics |= other.metrics
        self.examples += other.examples

    def in_order(self, wanted: list[Extrapolation]) -> Evaluations:
        """The same in the order that is given, whoever was done first."""
        order = {(reach.extent, reach.method): number for number, reach in enumerate(wanted)}
        last = len(order)
        return Evaluations(
            scores=sorted(
                self.scores, key=lambda score: order.get((score.extent, score.extrapolation), last)
            ),
            costs=sorted(self.costs, key=lambda cost: order.get((cost.extent, cost.extrapolation), last)),
            metrics=self.metrics,
            examples=sorted(self.examples, key=lambda one: order.get((one.extent, one.extrapolation), last)),
        )


def evaluations_at(
    model: nn.Module, task: AnyTask, reach: Extrapolation, device: torch.device, half: bool = False
) -> Evaluations:
    """The evaluation of a model at one extent, reached by one method; see `evaluate`."""
    scores, examples, cost = evaluate(model, task, reach, device, half)
    names = {score.metric for score in scores}
    # A task may not know all its metrics before it has evaluated, and only this rank's has.
    metrics = {name: record for name, record in metrics_of(task).items() if name in names}
    return Evaluations(scores=scores, costs=[cost], metrics=metrics, examples=examples)


def metrics_of(task: AnyTask) -> dict[str, MetricRecord]:
    """How the scores of a task are read, by metric name, the headline first."""
    return {m.name: MetricRecord(unit=m.unit, higher_is_better=m.higher_is_better) for m in task.metrics()}
