"""Training steps of a language model by encoding: tokens a second, utilisation, and the ratio to no encoding.

What is timed is the loop that runs use, data transfer and optimiser included, on random tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from measure import Row, alternate, arguments, device, report

from pebench.models.decoder import SIZES, Decoder, DecoderOptions
from pebench.position_encoding import PositionEncoding
from pebench.randomness import generator
from pebench.registry import encodings, tasks
from pebench.resolve import build_encoding
from pebench.running.checkpoint import State
from pebench.running.optimisation import optimiser
from pebench.running.train import Progress, train
from pebench.spec import Training
from pebench.task import AnyTask, Batch

DENSE_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Multiplications and additions a second by the vendors' data sheets, without sparsity."""


def random_text(extent: int, size: str, vocabulary: int) -> AnyTask:
    """Language modelling on tokens drawn at random."""
    base: type[Any] = tasks.load("language-modeling")

    class RandomText(base):  # type: ignore[misc]
        def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
            return Decoder(self.geometry(), vocabulary, encoding, 0.0, seed)

        def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
            draw = generator(seed, "batch", split, step % 8)
            return {"tokens": torch.randint(vocabulary, (size, extent + 1), generator=draw)}

    return RandomText(base.Options(extent=extent), DecoderOptions.model_validate({"size": size}))


def steps(label: str, task: AnyTask, training: Training, compiled: bool) -> Iterator[Progress]:
    """An endless training of a model around the encoding that a label such as ``seqpe:dropout=0`` names."""
    name, _, written = label.partition(":")
    options = dict(pair.split("=") for pair in written.split(",")) if written else {}
    values = {key: _value(text) for key, text in options.items()}
    where = device()
    encoding = build_encoding(name, values, task.geometry())
    model = task.build(encoding, 0).to(where)
    updates = optimiser(model, encoding, training)
    return train(model, task, updates, training, 0, State(), where, lambda step: False, compiled)


def flops_of_a_token(task: AnyTask, vocabulary: int) -> float:
    """Of forward and backward pass, by Chowdhery et al. 2022 (https://arxiv.org/abs/2204.02311), appendix B:
    6 a weight that multiplies, and 12 a layer, channel and key in attention, masked keys counted."""
    geometry = task.geometry()
    weights = 12 * geometry.layers * geometry.width**2 + vocabulary * geometry.width
    return 6.0 * weights + 12.0 * geometry.layers * geometry.width * geometry.extent[0]


def utilisation(flops_per_second: float) -> float | None:
    """The share of what the device could do; None where that is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((value for key, value in DENSE_BF16.items() if key in name), None)
    return flops_per_second / peak if peak else None


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__ or "")
    names = [name for name in encodings.origins() if 1 in encodings.literals(name).get("axes", (1,))]
    parser.add_argument("--encodings", nargs="*", default=names, help="names or name:option=value,…")
    parser.add_argument("--size", choices=list(SIZES), default="gpt2-small")
    parser.add_argument("--extent", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=50304)
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--compile", action="store_true")
    chosen = parser.parse_args()
    labels = list(dict.fromkeys(["none", *chosen.encodings]))
    rows = [row for label in labels for row in _rows(label, chosen)]
    report("Training step by encoding", "none", rows, chosen.output)


def _rows(label: str, chosen: argparse.Namespace) -> list[Row]:
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    training = Training(
        steps=10**6, batch=chosen.batch, accumulate=chosen.accumulate, precision=chosen.precision
    )
    begin = time.perf_counter()
    loops = {name: steps(name, task, training, chosen.compile) for name in dict.fromkeys(["none", label])}
    for loop in loops.values():
        for _ in range(3):
            next(loop)
    ready = time.perf_counter() - begin
    setting = {"extent": chosen.extent, "batch": chosen.batch, "compiled": chosen.compile}
    works = {name: (lambda loop=loop: [next(loop) for _ in range(4)]) for name, loop in loops.items()}
    rows = alternate(works, "none", setting, chosen.rounds)
    tokens = 4 * chosen.batch * chosen.extent
    needed = flops_of_a_token(task, chosen.vocabulary)
    found = []
    for row in rows:
        rate = tokens / row.seconds
        more = {"tokens/s": rate, "utilisation": utilisation(rate * needed), "ready s": ready}
        found.append(replace(row, seconds=row.seconds / 4, more=more))
    return [row for row in found if row.name == label]


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


if __name__ == "__main__":
    main()
