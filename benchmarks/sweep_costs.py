"""What the rows of a sweep cost alone on the device, in training and evaluation, as ratios to its baseline.

Runs that share a GPU say nothing of their speed. Here every row of a sweep has its model, its batches and
its precision, and trains for some steps beside the baseline, in turns, with nothing else on the device. Of a
tuned sweep each row is measured once, with the first of its settings; rates change no speed.

- `items/s` are what the task counts, tokens or images, in training.
- `evaluated items/s` are those of one evaluation at the largest extent by the encoding's own way, after one
  that is not counted.
- `first step s` holds the compilation, with whatever the cache of compiled kernels had.

A row that begins with another run is measured with new weights. On a machine that is paid by the minute,
compile in parallel first and then measure:

    pebench bench sweep-costs --sweep sweeps/cifar10.yaml --prepare 4 --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from measuring.alternation import Row, alternate, clock, device
from measuring.preparation import prepare
from measuring.reporting import Arguments, in_one_line, positive, report
from measuring.training import allow_many_compilations
from measuring.turns import Loop, advance, first_step_of, steps_of_a_measurement
from torch import nn

from pebench.errors import UserError
from pebench.position_encoding import PositionEncoding
from pebench.resolve import build_task, encoding_of, evaluations
from pebench.running.checkpoint import State
from pebench.running.evaluate import evaluate
from pebench.running.optimisation import optimiser
from pebench.running.train import train
from pebench.specification.run_spec import RunSpec
from pebench.sweeping.sweep import load_sweep
from pebench.task import AnyTask


@dataclass(frozen=True)
class Begun:
    """A row that has compiled what it needs.

    Attributes:
        spec: of a run of the row. task, encoding, model: of it.
        loop: its endless training. steps: in one measurement. seconds: that the first step took.
    """

    spec: RunSpec
    task: AnyTask
    encoding: PositionEncoding
    model: nn.Module
    loop: Loop
    steps: int
    seconds: float


def rows_of(sweep: Path, encodings: list[str]) -> tuple[str, list[RunSpec], bool]:
    """The label of the baseline, a specification for each row, the baseline first, and whether they compile.

    Args:
        sweep: its file. encodings: labels of the rows that are wanted besides; empty for all.

    Raises:
        UserError: there is no such sweep, no such row, or several tasks or models.
    """
    found = load_sweep(sweep)
    specs = [spec for run_id, spec in found.possible().items() if run_id not in found.trials]
    if len({_setting_of(spec) for spec in specs}) > 1:
        raise UserError(f"sweep '{found.name}' has several tasks or models: measure it with one.")
    rows = {label_of(spec): spec for spec in specs}
    baseline = found.baseline or next(iter(rows))
    unknown = [name for name in encodings if name not in rows]
    if unknown:
        raise UserError(f"sweep '{found.name}' has no row '{unknown[0]}', but {', '.join(rows)}.")
    wanted = dict.fromkeys([baseline, *(encodings or rows)])
    return baseline, [rows[name] for name in wanted], found.execution.compile


def _setting_of(spec: RunSpec) -> str:
    return json.dumps([spec.task.name, spec.task.options, spec.model], sort_keys=True)


def label_of(spec: RunSpec) -> str:
    return spec.encoding.label or spec.encoding.name


def begun(spec: RunSpec, compiled: bool) -> Begun:
    """Compiles and warms up."""
    task = build_task(spec)
    task.prepare()
    encoding = encoding_of(spec, task)
    model = task.build(encoding, spec.seed).to(device())
    endless = spec.train.model_copy(update={"steps": 10**6})
    updates = optimiser(model, encoding, endless)
    loop = train(model, task, updates, endless, spec.seed, State(), device(), lambda step: False, compiled)
    seconds = first_step_of(loop)
    return Begun(spec, task, encoding, model, loop, steps_of_a_measurement(loop), seconds)


def first_step(spec: RunSpec, compiled: bool) -> float:
    if compiled:
        allow_many_compilations()
    return begun(spec, compiled).seconds


def measure(chosen: argparse.Namespace, baseline: str, specs: list[RunSpec], compiled: bool) -> Iterator[Row]:
    """The rows, each as soon as it is there; that of the baseline comes first."""
    torch.set_flush_denormal(True)  # as every run does
    if compiled:
        allow_many_compilations()
    base = begun(specs[0], compiled)
    setting = {
        "sweep": chosen.sweep.stem,
        "batch": specs[0].train.batch,
        "precision": specs[0].train.precision,
        "compiled": compiled,
    }
    first = True
    for spec in specs[1:]:
        label = label_of(spec)
        try:
            own = begun(spec, compiled)
            sides = {baseline: base, label: own}
            works = {name: partial(advance, side.loop, side.steps) for name, side in sides.items()}
            units = {name: side.steps for name, side in sides.items()}
            found = alternate(works, baseline, setting, chosen.rounds, warmup=1, units=units)
        except Exception as error:  # one row that cannot be trained must not cost the others
            sys.stderr.write(f"{label} left out: {in_one_line(error)}\n")
            continue
        for row in found if first else found[1:]:
            yield replace(row, more=_figures(sides[row.name], row.seconds))
        first = False
        del own, sides, works
        gc.collect()


def _figures(side: Begun, seconds: float) -> dict[str, float | str | None]:
    batch = side.task.batch(side.spec.seed, "train", 0, side.spec.train.batch)
    encoding = side.encoding
    own = [one for one in evaluations(encoding, side.task) if one.method == encoding.trained_with.method]
    for _ in range(2):
        half = side.spec.train.evaluate_in == "bfloat16"
        *_, cost = evaluate(side.model, side.task, own[-1], device(), half)
    side.model.train()
    return {
        "items/s": side.task.items(batch) / seconds,
        "evaluated items/s": cost.items_per_second,
        "kernels": ", ".join(cost.kernels),
        "first step s": side.seconds,
    }


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("--sweep", type=Path, required=True, help="a file of one task and one model")
    parser.add_argument("--encodings", nargs="+", default=[], help="rows beside the baseline, by default all")
    parser.add_argument("--prepare", type=positive, help="compile everything first, in so many processes")
    chosen = parser.parse_args()
    try:
        baseline, specs, compiled = rows_of(chosen.sweep, chosen.encodings)
    except UserError as error:
        parser.error(str(error))
    if chosen.prepare:
        prepare({label_of(spec): partial(first_step, spec, compiled) for spec in specs}, chosen.prepare)
    report(
        "Rows of a sweep, alone",
        baseline,
        measure(chosen, baseline, specs, compiled),
        chosen.output,
        clock=clock(),
    )


if __name__ == "__main__":
    main()
