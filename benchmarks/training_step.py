"""Training steps of a language model by encoding: tokens a second, utilisation, and the ratio to no encoding.

Timed is the loop that runs use, data transfer, auxiliary losses and optimiser included, on random tokens.
Each encoding is measured beside the same model without one, which stays compiled throughout.

- `seqpe:dropout=0` computes common prefixes of digit strings once, but for compiled training on CUDA up to a
  width of 512.
- `seqpe:dropout=0,unshared` computes every string whole.
- `seqpe` is that with the published dropout.

What SeqPE adds to a step is the same whatever the size of the batch, so that a small batch, as on a CPU,
shows it at its worst. --accumulate therefore measures batches of several parts as well, each of them as large
as --batch. Where memory does not suffice the batch is computed in more parts.

- `first step s` holds the compilation, with whatever the cache of compiled kernels had.
- `cold s` is the same in a process that --prepare started beside others.
- `waits` is how often a step waits for the CUDA device, by PyTorch's own count; stderr says where.

With --profiles FOLDER it is written down, too, which kernels the steps of each encoding spend their time on.

On a machine that is paid by the minute, compile in parallel first and then measure:

    pebench bench training-step --prepare 4 --rounds 5
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from measuring.alternation import Row, alternate, clock, device
from measuring.preparation import prepare
from measuring.profiling import write_profile
from measuring.reporting import Arguments, in_one_line, positive, report
from measuring.training import (
    add_model_arguments,
    flops_of_a_token,
    random_text,
    steps,
    utilisation,
)
from measuring.turns import Loop, advance, first_step_of, steps_of_a_measurement

from pebench.encoding_config import serving
from pebench.specification.run_spec import Training

BASELINE = "none"

FIRST = ("none", "rope", "alibi", "fox", "cable", "seqpe:dropout=0", "seqpe", "seqpe:dropout=0,unshared")
"""Encodings that are measured first, if time should run out."""

LAST = ("cope", "dape", "fire")
"""Encodings that take longest."""

MOST_PARTS = 16
"""Parts of a batch that are tried where memory does not suffice."""

PROFILED = 3
"""Steps that are profiled."""


class _Begun(NamedTuple):
    """A training that has compiled what it needs.

    Attributes:
        seconds: that its first step took. parts: that a batch is computed in.
    """

    loop: Loop
    seconds: float
    parts: int


def main() -> None:
    """Prints the table."""
    here = device().type == "cuda"
    others = [name for name in serving(1, causal=True) if name not in FIRST]
    names = [*FIRST, *sorted(others, key=lambda name: (name in LAST, name))]
    parser = Arguments(__doc__)
    parser.add_argument("--encodings", nargs="+", default=names, help="names or name:option=value,…")
    add_model_arguments(parser)
    parser.add_argument(
        "--precision", choices=["bfloat16", "float32"], default="bfloat16" if here else "float32"
    )
    compiled = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compiled, default=here, help="by default on CUDA")
    parser.add_argument("--prepare", type=positive, help="compile everything first, in so many processes")
    parser.add_argument("--prepare-only", action="store_true", help="and measure nothing")
    parser.add_argument(
        "--profiles", type=Path, help="folder for a table a row of what its steps spend time on"
    )
    parser.add_argument("--accumulate", type=positive, nargs="+", default=[1], help="parts of a batch")
    chosen = parser.parse_args()
    labels = [label for label in chosen.encodings if label != BASELINE]
    beginnings = {label: partial(first_step, label, chosen) for label in (BASELINE, *labels)}
    cold = prepare(beginnings, chosen.prepare) if chosen.prepare else {}
    if chosen.prepare_only:
        return
    measured = (measure(labels, chosen, parts, cold if parts == 1 else {}) for parts in chosen.accumulate)
    report("Training step by encoding", BASELINE, chain.from_iterable(measured), chosen.output, clock=clock())


def measure(
    labels: list[str], chosen: argparse.Namespace, least: int, cold: dict[str, float]
) -> Iterator[Row]:
    """The rows, each as soon as it is there; that of the baseline comes first.

    Args:
        labels: the encodings. chosen: on the command line.
        least: parts that a batch consists of. cold: seconds of first steps, by label.
    """
    base = begun(BASELINE, chosen, least * chosen.batch, least)
    base_steps = steps_of_a_measurement(base.loop)
    with_base = True
    for label in labels:
        for row in beside(base, base_steps, label, chosen, cold, with_base):
            with_base = False
            yield row


def beside(
    base: _Begun,
    base_steps: int,
    label: str,
    chosen: argparse.Namespace,
    cold: dict[str, float],
    with_base: bool,
) -> Iterator[Row]:
    """The row of an encoding, after that of the baseline if that is wanted; none where it cannot be trained.
    What has been measured leaves the memory when this ends."""
    batch = base.parts * chosen.batch
    own = _begun_as_memory_allows(label, chosen, batch, base.parts)
    if own is None:
        return
    sides = {BASELINE: base, label: own}
    units = {BASELINE: base_steps, label: steps_of_a_measurement(own.loop)}
    works = {name: partial(advance, side.loop, units[name]) for name, side in sides.items()}
    try:
        found = alternate(works, BASELINE, _setting(chosen, batch), chosen.rounds, warmup=1, units=units)
    except Exception as error:  # as where it cannot begin
        sys.stderr.write(f"{label} left out: {in_one_line(error)}\n")
        return
    for row in found if with_base else found[1:]:
        side = sides[row.name]
        figures = {
            **_figures(row.seconds, chosen, batch),
            "parts": str(side.parts),
            "first step s": side.seconds,
            "cold s": cold.get(row.name),
            "waits": _waits(side.loop, row.name),
        }
        yield replace(row, more=figures)
        if chosen.profiles:
            _profile(chosen, row, side.loop)


def _profile(chosen: argparse.Namespace, row: Row, loop: Loop) -> None:
    """Writes down what some steps of a row spend their time on."""
    name = "-".join(re.findall(r"[\w.]+", row.name))
    setting = ", ".join(f"{key} {value}" for key, value in row.setting.items())
    work = partial(advance, loop, PROFILED)
    write_profile(chosen.profiles / f"{name}.txt", f"A step of {row.name}: {setting}", work, PROFILED)


def _begun_as_memory_allows(label: str, chosen: argparse.Namespace, batch: int, parts: int) -> _Begun | None:
    """As `begun`, in as many parts as the batch has to be computed in; None where it cannot be."""
    most = min(MOST_PARTS * parts, batch)
    while parts <= most:
        try:
            return begun(label, chosen, batch, parts)
        except torch.OutOfMemoryError as error:
            problem = error
        except Exception as error:  # one encoding that cannot be trained must not cost the others' rows
            sys.stderr.write(f"{label} left out: {in_one_line(error)}\n")
            return None
        problem.__traceback__ = None  # which holds on to what did not fit
        # Uncompiled it takes seconds to see which number fits, where each compilation may take minutes.
        parts *= 2
        while parts <= most and not _fits(label, chosen, batch, parts):
            parts *= 2
        if parts <= most:
            sys.stderr.write(f"{label}: not enough memory, now in {parts} parts\n")
    sys.stderr.write(f"{label} left out: {in_one_line(problem)}\n")
    return None


def _fits(label: str, chosen: argparse.Namespace, batch: int, parts: int) -> bool:
    """Whether there is memory for an uncompiled step."""
    gc.collect()
    torch.cuda.empty_cache()
    try:
        advance(_training(label, chosen, batch, parts, compiled=False), 1)
    except torch.OutOfMemoryError:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return True


def begun(label: str, chosen: argparse.Namespace, batch: int, parts: int) -> _Begun:
    loop = _training(label, chosen, batch, parts, chosen.compile)
    return _Begun(loop, first_step_of(loop), parts)


def _training(label: str, chosen: argparse.Namespace, batch: int, parts: int, compiled: bool) -> Loop:
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    training = Training(steps=10**6, batch=batch, accumulate=parts, precision=chosen.precision)
    return steps(label, task, training, compiled)


def first_step(label: str, chosen: argparse.Namespace) -> float:
    return begun(label, chosen, chosen.batch, 1).seconds


def _waits(loop: Loop, label: str) -> float | None:
    """How often the host waits for the device in a step, None without CUDA."""
    if device().type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            advance(loop, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{warning.filename}:{warning.lineno}"
        for warning in caught
        if "synchronizing CUDA operation" in str(warning.message)
    )
    for place, count in places.most_common():
        sys.stderr.write(f"{label} waits for the device {count} times a step at {place}\n")
    return places.total()


def _setting(chosen: argparse.Namespace, batch: int) -> dict[str, object]:
    return {
        "model": chosen.size,
        "extent": chosen.extent,
        "batch": batch,
        "vocabulary": chosen.vocabulary,
        "precision": chosen.precision,
        "compiled": chosen.compile,
    }


def _figures(seconds: float, chosen: argparse.Namespace, batch: int) -> dict[str, float | str | None]:
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    rate = batch * chosen.extent / seconds
    return {
        "tokens/s": rate,
        "utilisation": utilisation(rate * flops_of_a_token(task, chosen.vocabulary)),
    }


if __name__ == "__main__":
    main()
