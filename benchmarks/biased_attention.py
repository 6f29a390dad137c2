"""Attention with a bias, alone, in evaluation and in training: what kernels of our own gain beside others.

There are four tables, and the baseline of each is the same without a bias:

- `replayed`: one layer by blocks of queries and by kernels of our own, by length and dtype. It is recorded as
  a CUDA graph, so that nothing of the host is timed.
- `attention`: one layer of as many heads and texts as the model has, forward, and forward and back with the
  gradients of the bias. `deviation` is how far the output and the gradients of queries, keys and values are
  from those of blocks of queries in float32, as a share of their size.
- `evaluation`: one pass over a text of the longest extent in float32.
- `training`: a step of the model around each encoding.

On CUDA the kernels for a bias that all texts share (`shared`) stand beside those that would be chosen without
them. With --tiles they are also measured in the sizes of tiles that are worth a try. What comes out belongs
into `SHARED_FROM` in `pebench/attention/kernels.py` and `TILES` in `pebench/attention/shared.py`.

All that a GPU is wanted for, in one go: attention, evaluation at 8,192 tokens, and steps of GPT-2 small on
32 × 1,024 tokens in bfloat16, compiled, the slowest to compile last. Each row is in the file as soon as it
is measured.

    pebench bench biased-attention --tiles --prepare 6 --rounds 5

CoPE and DAPE compiled for three to five minutes on an H100's host. Without them it should take five
minutes:

    pebench bench biased-attention --prepare 6 --rounds 5 --encodings t5 kerple fire liere
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import product
from unittest import mock

import evaluation
import torch
import training_step
from attention_paths import BASELINE as FUSED
from attention_paths import Path, Setting, kernels_from, possible
from measuring.alternation import Row, Work, alternate, clock, device
from measuring.preparation import prepare
from measuring.reporting import Arguments, positive, report
from measuring.training import add_model_arguments, random_text
from measuring.turns import steps_of_a_measurement

from pebench.models.host import SIZES
from pebench.plugins.registry import encodings

BASELINE = "without a bias"

ENCODINGS = ("t5", "kerple", "fire", "liere", "cope", "dape")
"""Those whose training steps take longest, in the order in which they are measured."""

TILES: Mapping[str, tuple[tuple[int, int, int, int], ...]] = {
    "forward": ((64, 64, 4, 2), (64, 64, 4, 3), (128, 64, 8, 2), (128, 64, 8, 3), (128, 128, 8, 2)),
    "keys": ((64, 64, 4, 2), (32, 64, 4, 2), (64, 128, 8, 1), (64, 128, 8, 2), (32, 128, 8, 2)),
    "queries": ((64, 64, 4, 1), (64, 64, 4, 2), (128, 64, 8, 2), (64, 32, 4, 2)),
    "bias": ((64, 64, 4, 1), (64, 64, 4, 2), (128, 64, 8, 2), (64, 128, 8, 2)),
}
"""Queries and keys of a tile, warps and stages. None of these spills registers, compiled by Triton 3.6."""

REPLAYED = (256, 512, 1024, 2048)
"""Tokens of a text whose attention is recorded."""

REPLAYS = 10
"""Of a recording in one measurement."""

COMPARED = 2
"""Texts whose results are held against those of blocks in float32."""


def main() -> None:
    """Prints the table."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    add_model_arguments(parser)
    parser.add_argument("--encodings", nargs="+", default=list(ENCODINGS), help="of the training steps")
    parser.add_argument("--evaluated", type=positive, default=8192 if here else 512, help="longest extent")
    parser.add_argument("--tiles", action="store_true", help="other sizes of tiles as well")
    parser.add_argument("--prepare", type=positive, help="compile steps first, in so many processes")
    parser.set_defaults(precision="bfloat16" if here else "float32", compile=here)
    parser.set_defaults(profiles=None, accumulate=[1])
    chosen = parser.parse_args()
    report("Attention with a bias", BASELINE, rows(chosen), chosen.output, clock=clock())


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All parts, each row as soon as it is there."""
    if device().type == "cuda":
        yield from replayed(chosen)
    yield from attention(chosen)
    yield from evaluated(chosen)
    yield from training(chosen)


def replayed(chosen: argparse.Namespace) -> Iterator[Row]:
    """One layer on so many tokens in all as the chosen batch has, without what the host does for it."""
    names = [name for name in ("t5", "fire") if name in chosen.encodings]
    _, _, heads = SIZES[chosen.size]
    for dtype, extent in product((torch.bfloat16, torch.float32), REPLAYED):
        texts = max(1, chosen.batch * chosen.extent // (2 * extent))
        setting = Setting(extent, dtype, True, heads, texts)
        paths = {
            BASELINE if name == FUSED else name: path
            for name, path in setting.paths(names).items()
            if name == FUSED or name.startswith(("shared", "blocked, t5"))
        }
        for direction, make in (("forward", setting.forward), ("backward", setting.backward)):
            works = {name: _recorded(make(path)) for name, path in paths.items()}
            kind = str(dtype).removeprefix("torch.")
            at = {"what": f"replayed, {direction}", "tokens": extent, "texts": texts, "dtype": kind}
            yield from alternate(works, BASELINE, at, chosen.rounds, units=dict.fromkeys(works, REPLAYS))


def _recorded(work: Work) -> Work:
    """The kernels of a piece of work, replayed some times from a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()

    def replay() -> None:
        for _ in range(REPLAYS):
            graph.replay()

    return replay


def attention(chosen: argparse.Namespace) -> Iterator[Row]:
    """One layer."""
    names = [name for name in ("t5", "kerple", "fire") if name in chosen.encodings]
    _, _, heads = SIZES[chosen.size]
    setting = Setting(chosen.extent, getattr(torch, chosen.precision), True, heads, chosen.batch)
    # Blocks of fire that are not compiled keep more than a GPU has, and its whole matrix nearly so.
    left_out = ("fire",) if device().type == "cuda" else ()
    paths = {
        BASELINE if name == FUSED else name: path
        for name, path in setting.paths(names).items()
        if name != "factored, alibi" and (name.startswith("shared") or not name.endswith(left_out))
    }
    deviations = {name: _deviation(setting, name, path) for name, path in paths.items()}
    for direction, make in (("forward", setting.forward), ("backward", setting.backward)):
        works = {name: make(path) for name, path in paths.items()}
        if chosen.tiles and names and f"shared, {names[0]}" in paths:
            works |= _in_other_tiles(f"shared, {names[0]}", works[f"shared, {names[0]}"], direction)
        at = {"what": f"attention, {direction}", "tokens": chosen.extent, "texts": chosen.batch}
        for row in alternate(possible(works), BASELINE, at, chosen.rounds):
            yield replace(row, more={"deviation": deviations.get(row.name)})


def evaluated(chosen: argparse.Namespace) -> Iterator[Row]:
    """A pass over a text, in float32, by attention path."""
    extent = chosen.evaluated
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary, (extent,))
    ways = ["fused", "blocked", *(["flex", "shared"] if device().type == "cuda" else [])]
    works = {
        BASELINE if name == evaluation.BASELINE else name: work
        for name, work in evaluation.works(task, extent, ways).items()
        if name == evaluation.BASELINE or name.endswith(", t5")
    }
    at = {"what": "evaluation", "tokens": extent, "texts": 1}
    yield from alternate(possible(works), BASELINE, at, min(3, chosen.rounds), warmup=1)


def training(chosen: argparse.Namespace) -> Iterator[Row]:
    """A step of the model around each encoding, by the kernels that are chosen and by those for a bias that
    all texts share."""
    choices = [(label, own) for label in chosen.encodings for own in _choices(label)]
    beginnings = {training_step.BASELINE: partial(_first_step, training_step.BASELINE, False, chosen)}
    beginnings |= {_name(*choice): partial(_first_step, *choice, chosen) for choice in choices}
    cold = prepare(beginnings, chosen.prepare) if chosen.prepare else {}
    base = training_step.begun(training_step.BASELINE, chosen, chosen.batch, 1)
    count = steps_of_a_measurement(base.loop)
    first = True
    for label, own in choices:
        with _taking(own):
            seconds = {label: cold[_name(label, own)]} if _name(label, own) in cold else {}
            for row in training_step.beside(base, count, label, chosen, seconds, first):
                first = False
                name = BASELINE if row.name == training_step.BASELINE else _name(label, own)
                at = {"what": "training", "tokens": chosen.extent, "texts": chosen.batch}
                yield replace(row, name=name, setting=at)


def _choices(label: str) -> tuple[bool, ...]:
    """Whether the kernels for a bias that all texts share are taken. Blocks of fire compile for minutes."""
    able = device().type == "cuda" and "shared" in encodings.load(label.partition(":")[0]).kernels
    if not able:
        return (False,)
    return (True,) if label.startswith("fire") else (False, True)


def _name(label: str, own: bool) -> str:
    return f"shared, {label}" if own else label


def _taking(own: bool) -> AbstractContextManager[object]:
    return kernels_from(1 if own else None)


def _first_step(label: str, own: bool, chosen: argparse.Namespace) -> float:
    with _taking(own):
        return training_step.first_step(label, chosen)


def _in_other_tiles(name: str, work: Work, direction: str) -> dict[str, Work]:
    """The kernels of one direction in each size of tiles that is not their own."""
    from pebench.attention import shared
    from pebench.attention.tiles import Tile

    found: dict[str, Work] = {}
    for kernel, sizes in TILES.items():
        if (kernel == "forward") != (direction == "forward"):
            continue
        for size in (Tile(*numbers) for numbers in sizes):
            if size != shared.TILES[kernel]:
                label = "·".join(map(str, size))
                found[f"{name}, {kernel} {label}"] = partial(_with_tile, kernel, size, work)
    return found


def _with_tile(kernel: str, size: object, work: Work) -> None:
    from pebench.attention import shared

    with mock.patch.dict(shared.TILES, {kernel: size}):
        work()


def _deviation(setting: Setting, name: str, path: Path) -> float | None:
    """How far the output and the gradients of queries, keys and values are from those of blocks in float32,
    as a share of their size; None for the baseline."""
    if name == BASELINE:
        return None
    blocked = partial(setting.blocked, setting.bias(name.partition(", ")[2]))
    results = []
    for way, dtype in ((path, setting.dtype), (blocked, torch.float32)):
        leaves = [leaf[:COMPARED].detach().to(dtype).requires_grad_() for leaf in setting.leaves]
        q, k, v = leaves
        out = way((q, k, v))
        weighted = (out * setting.weights[:COMPARED].to(dtype)).sum()
        results.append([out.detach(), *torch.autograd.grad(weighted, leaves)])
    pairs = zip(*results, strict=True)
    return max(float((one.float() - other).norm() / other.norm()) for one, other in pairs)


if __name__ == "__main__":
    main()
