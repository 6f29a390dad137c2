"""Run folders made by hand, for tests of what reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pebench.specification.run_spec import PluginConfig, RunSpec, Training
from pebench.store.example_scores import Examples, Ratio
from pebench.store.records import Cost, EvaluationCost, MetricRecord, Point, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, write_sweep

BEGAN = 1_700_000_000.25
"""The time of the first point of every run, in seconds since the epoch."""

METRICS = {
    "bits-per-byte": MetricRecord(unit="bits/byte", higher_is_better=False),
    "accuracy": MetricRecord(unit="%", higher_is_better=True),
}


def specification(
    encoding: str = "rope",
    seed: int = 0,
    *,
    options: Mapping[str, Any] | None = None,
    label: str = "",
    task: str = "language-modeling",
    task_options: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
) -> RunSpec:
    """A specification of a run on text, trained at 128 positions unless said otherwise."""
    return RunSpec(
        encoding=PluginConfig(name=encoding, options=dict(options or {}), label=label or encoding),
        task=PluginConfig(
            name=task,
            options={"data": "python-docs", "extent": 128, "evaluate": [128, 512], **(task_options or {})},
            label=task,
        ),
        model={"size": "tiny", "width": 64, **(model or {})},
        train=Training.model_validate({"steps": 40, **(train or {})}),
        seed=seed,
    )


def begin(runs: Path, spec: RunSpec, steps: Sequence[int] = (10, 20, 30, 40)) -> RunFolder:
    """The folder of a run that has logged a loss at each of the steps."""
    folder = RunFolder(runs / spec.run_id)
    folder.create(spec, {})
    code = {"commit": "0123abc", "dirty": False}
    folder.write_provenance({**code, "device": "cpu", "item": "tokens", "data": {"train": "aa11"}})
    log(folder, steps)
    return folder


def log(folder: RunFolder, steps: Sequence[int], later: float = 0.0) -> None:
    """Adds a line of metrics for each step, as if written `later` seconds after the first time."""
    for step in steps:
        values: dict[str, float | None] = {"train/loss": 5.0 - step / 100, "train/learning-rate": 0.001}
        folder.append(Point(step=step, items=step * 2048, time=BEGAN + step + later, values=values))


Scores = Mapping[tuple[str, int | tuple[int, ...], str], float | None]
"""Value by metric, extent and extrapolation."""


def finish(folder: RunFolder, scores: Scores, *, speed: float = 1000.0) -> None:
    """Writes a result with the given scores, the first of which is of the default extrapolation."""
    found = tuple(
        Score(metric=m, extent=_extent(e), extrapolation=x, value=v) for (m, e, x), v in scores.items()
    )
    names = list(dict.fromkeys(score.metric for score in found))
    places = list(dict.fromkeys((score.extent, score.extrapolation) for score in found))
    folder.write_result(
        Result(
            status="done",
            metrics={name: METRICS[name] for name in names},
            scores=found,
            cost=cost(places, speed),
        )
    )


def diverge(folder: RunFolder, step: int = 20) -> None:
    """Writes the result of a run whose loss stopped being a number."""
    folder.write_result(
        Result(
            status="diverged",
            diverged_at=step,
            metrics={"bits-per-byte": METRICS["bits-per-byte"]},
            scores=(),
            cost=cost([], 1000.0),
        )
    )


def cost(places: Sequence[tuple[tuple[int, ...], str]], speed: float) -> Cost:
    """A cost with an evaluation at each place."""
    return Cost(
        parameters=123_456,
        encoding_parameters=0,
        item="tokens",
        items_per_second=speed,
        peak_memory_bytes=None,
        kernels=("fused",),
        evaluations=tuple(
            EvaluationCost(
                extent=extent,
                extrapolation=extrapolation,
                items_per_second=speed * 3,
                peak_memory_bytes=10_000_000,
                kernels=("fused",),
            )
            for extent, extrapolation in places
        ),
    )


def text_scores(inside: float, outside: float) -> Scores:
    """Bits per byte at the trained extent of 128 and at 512."""
    return {("bits-per-byte", 128, "extend"): inside, ("bits-per-byte", 512, "extend"): outside}


def record_sweep(runs: Path, specs: Sequence[RunSpec], name: str = "quickstart") -> None:
    """Records the specifications as the cells of a sweep."""
    write_sweep(runs, SweepRecord(name=name, source=f"name: {name}\n", runs=tuple(s.run_id for s in specs)))


def _extent(extent: int | tuple[int, ...]) -> tuple[int, ...]:
    return (extent,) if isinstance(extent, int) else extent


def keep_examples(folder: RunFolder, deviations: Sequence[float] = (0.3, -0.2, 0.1, -0.4, 0.2)) -> None:
    """Keeps scores by document, of a byte each, behind every score in bits per byte of a finished run.

    Args:
        folder: of the run.
        deviations: of the documents from the score, whose sum is 0.
    """
    result = folder.result()
    assert result is not None
    found = []
    for score in result.scores:
        if score.metric == "bits-per-byte" and score.value is not None:
            nats = tuple(math.log(2) * (score.value + deviation) for deviation in deviations)
            columns = {
                "document": tuple(range(len(nats))),
                "tokens": (1,) * len(nats),
                "bytes": (1,) * len(nats),
                "nats": nats,
            }
            found.append(
                Examples(
                    ratios=(Ratio(metric="bits-per-byte", over="nats", under="bytes", form="bits"),),
                    units=("document",),
                    columns=columns,
                    counts={"tokens": len(nats), "documents": len(nats)},
                    extent=score.extent,
                    extrapolation=score.extrapolation,
                )
            )
    folder.write_examples(found)
