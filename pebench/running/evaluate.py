"""Evaluation of a trained model: every extent, past the trained one by every method asked for, with its
cost."""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import nn

from pebench.position_encoding import Extrapolation, PositionEncoding
from pebench.running import peak_memory
from pebench.store.example_scores import Examples
from pebench.store.records import EvaluationCost, Score
from pebench.task import AnyTask


def evaluate(
    model: nn.Module, task: AnyTask, reach: Extrapolation, device: torch.device, half: bool = False
) -> tuple[list[Score], list[Examples], EvaluationCost]:
    """The scores of a model at one extent, reached by one method, those of single examples, and their cost.

    Args:
        model: a `PositionedModel` on the device. task: knows the data and the metrics.
        reach: extent and method. device: where the model is.
        half: whether products are of bfloat16, by autocast.
    """
    model.eval()
    encoding = model.encoding
    assert isinstance(encoding, PositionEncoding)
    precision = torch.autocast(device.type, torch.bfloat16, enabled=half)
    with torch.no_grad(), precision:
        fitted = encoding.fit(partial(task.held_out_loss, model, reach), reach)
    peak_memory.reset(device)
    begin = time.perf_counter()
    with torch.no_grad(), precision:
        evaluation = task.evaluate(model, reach)
    seconds = time.perf_counter() - begin
    scores = [
        Score(metric=name, extent=reach.extent, extrapolation=reach.method, value=value)
        for name, value in evaluation.scores.items()
    ]
    # Where a model predicts no number, the score says so, and nothing is known of its spread.
    examples = [
        one.model_copy(update={"extent": reach.extent, "extrapolation": reach.method})
        for one in evaluation.examples
        if one.finite
    ]
    cost = EvaluationCost(
        extent=reach.extent,
        extrapolation=reach.method,
        items_per_second=evaluation.items / seconds,
        peak_memory_bytes=peak_memory.read(device),
        kernels=tuple(model.kernels()),  # type: ignore[operator]
        fitted=fitted,
    )
    return scores, examples, cost
