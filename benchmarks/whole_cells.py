"""Whole cells and whole sweeps: the wall time from the command to its end, stage by stage.

A cell is a language model of `--size` on the documentation of Python, carried out by `pebench submit` in the
foreground. A sweep is one such cell by encoding and seed, carried out by `--side-by-side` workers.

The stages are read from the files that the runs leave. Those of a sweep are medians over its cells.

- `start` ends with the first line of a run's log.
- `first steps` ends with the first line of its metrics.
- `training` ends with the last line of its metrics of training.
- `evaluation` ends with the last line of its metrics.
- `leaving` ends with the process, in a sweep with the result.
- `processor` is the time that the processes of a cell had a processor.

Each tree has a cache of its own, filled before by two updates and the evaluation of a cell of each encoding,
or by whoever made the folder of `--cache`; with `--cold` it is empty each time.

With `--other` a worktree of another commit takes turns with this one and is the baseline. Its cells are
evaluated in float32 whatever the file says, since older commits know nothing else. Without it the baseline is
a process for each cell of the sweep, and beside it stands one process for all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measuring.alternation import WALL, Row, compared
from measuring.reporting import Arguments, positive, report
from measuring.trees import CACHES, OTHER, OWN, Tree, trees, worktree

from pebench.errors import UserError
from pebench.models.host import SIZES
from pebench.sweeping.yaml_file import read_mapping

APART = "a process a cell"
STAGES = ("start", "first steps", "training", "evaluation", "leaving")
_LOOK_EVERY = 0.05
_FILLING = 2
"""Updates of a cell that fills a cache."""
_OF_A_LENGTH = ("schedule", "decay", "final", "evaluate_at", "evaluate_every")
"""Settings of a training that go with its number of updates, beside the warm-up."""
_MOST = 3600.0
"""Seconds that a sweep may take."""

Stages = dict[str, float]


class Whole(NamedTuple):
    """What a cell or a sweep took, in seconds.

    Attributes:
        seconds: by the wall clock. stages: likewise.
        processor: that its processes had a processor; None of workers in the background, whose end nobody
            waits for.
    """

    seconds: float
    stages: Stages
    processor: float | None


def stages(run: Path, begun: float, ended: float) -> Stages:
    """The seconds of each stage of a finished run.

    Args:
        run: its folder.
        begun: when the command was given, or the process was free for the run.
        ended: when the process had ended, or the result was there.
    """
    with (run / "log.txt").open(encoding="utf-8") as log:
        first = datetime.fromisoformat(log.readline()[:23]).timestamp()
    points = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [
        point["time"] for point in points if any(name.startswith("train/") for name in point["values"])
    ]
    last = max(point["time"] for point in points)
    moments = [begun, first, trained[0], trained[-1], last, ended]
    return {name: stop - start for name, start, stop in zip(STAGES, moments[:-1], moments[1:], strict=True)}


def content(chosen: Any) -> dict[str, Any]:
    """The keys of the sweep's file that its cells are of: of --sweep, or of a small text model."""
    execution = {"device": chosen.device, "compile": chosen.compile}
    if chosen.sweep is not None:
        values, _ = read_mapping(chosen.sweep)
        values.pop("baseline", None)
        train = values.get("train", {})
        if chosen.steps is not None:
            train = shortened(train, chosen.steps)
        return {**values, "train": train, "execution": execution}
    task = {
        "data": "python-docs",
        "extent": chosen.extent,
        "evaluate": [chosen.extent * times for times in (1, 2, 4, 8)],
        "tokens": chosen.tokens,
    }
    precision = "bfloat16" if chosen.device == "cuda" else "float32"
    return {
        "tasks": [{"language-modeling": task}],
        "model": {"size": chosen.size},
        "train": {"steps": chosen.steps or 20, "batch": chosen.batch, "precision": precision},
        "execution": execution,
    }


def in_float32(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys of a sweep for a commit that evaluates in float32 alone, and has no setting for it."""
    return keys | {"train": {name: value for name, value in keys["train"].items() if name != "evaluate_in"}}


def shortened(train: dict[str, Any], steps: int) -> dict[str, Any]:
    """A training of so many updates, without what goes with another number of them."""
    kept = {name: value for name, value in train.items() if name not in _OF_A_LENGTH}
    return kept | {"steps": steps, "warmup": min(train.get("warmup", 0), steps)}


def write_sweep(path: Path, keys: dict[str, Any], encodings: list[Any], seeds: list[int]) -> Path:
    """The file of a sweep, in JSON, which is YAML."""
    path.write_text(
        json.dumps(keys | {"name": "cells", "encodings": encodings, "seeds": seeds}, default=float)
    )
    return path


def one_after_another(tree: Tree, sweep: Path, runs: Path) -> Whole:
    """A sweep by one command in the foreground; of several cells the stages are those of the median one."""
    begun = time.time()
    cost = tree.spent("submit", str(sweep), "--runs", str(runs))
    found = _medians(runs, begun, begun + cost.seconds)
    return Whole(cost.seconds, found, cost.processor)


def side_by_side(tree: Tree, sweep: Path, runs: Path, count: int) -> Whole:
    """A sweep by workers in the background, from the command to the last result."""
    begun = time.time()
    arguments = ["submit", str(sweep), "--runs", str(runs), "--cluster", "local"]
    tree.spent(*arguments, "--max-parallel", str(count))
    cells = len(list(runs.glob("*/spec.json")))
    while len(list(runs.glob("*/result.json"))) < cells:
        failed = next(iter(runs.glob("*/failure.json")), None)
        if failed is not None or time.time() - begun > _MOST:
            raise RuntimeError(failed.read_text() if failed else "the sweep has not ended")
        time.sleep(_LOOK_EVERY)
    ended = max(path.stat().st_mtime for path in runs.glob("*/result.json"))
    return Whole(ended - begun, _medians(runs, begun, None), None)


def apart(tree: Tree, sweeps: list[Path], runs: Path) -> Whole:
    """The cells of a sweep by a command each."""
    found = [one_after_another(tree, sweep, runs / sweep.stem) for sweep in sweeps]
    return Whole(
        sum(each.seconds for each in found),
        _over([each.stages for each in found]),
        sum(each.processor or 0.0 for each in found),
    )


def _medians(runs: Path, begun: float, ended: float | None) -> Stages:
    """The median of each stage over the runs of a folder. A run begins where the one before it in the same
    process ended."""
    free: dict[int, float] = {}
    found = []
    for result in sorted(runs.glob("*/result.json"), key=lambda path: path.stat().st_mtime):
        process = json.loads((result.parent / "worker.json").read_bytes())["pid"]
        over = result.stat().st_mtime
        alone = ended is not None and len(list(runs.glob("*/result.json"))) == 1
        found.append(stages(result.parent, free.get(process, begun), ended if alone and ended else over))
        free[process] = over
    return _over(found)


def _over(found: list[Stages]) -> Stages:
    return {name: median(each[name] for each in found) for name in STAGES}


def measure(chosen: Any, folder: Path) -> Iterator[Row]:
    """Rows of one cell and of a sweep, by tree or by how the cells are shared out among processes."""
    known = trees(chosen.other, folder, chosen.cache)
    keys = content(chosen)
    encodings = chosen.encodings or keys.get("encodings", ["rope", "t5"])
    seeds = list(range(chosen.seeds))
    evaluated = {OTHER: "float32", OWN: keys["train"].get("evaluate_in") or "float32"}
    cells: dict[str, Path] = {}
    sweeps: dict[str, Path] = {}
    keys_by_tree = {tree.name: in_float32(keys) if tree.name == OTHER else keys for tree in known}
    for name, used in keys_by_tree.items():
        cells[name] = write_sweep(folder / f"cell-{len(cells)}.yaml", used, encodings[:1], [0])
        sweeps[name] = write_sweep(folder / f"sweep-{len(sweeps)}.yaml", used, encodings, seeds)
    count = chosen.side_by_side
    Work = Callable[[Tree, Path], Whole]
    works: dict[str, dict[str, tuple[Tree, Work]]] = {}
    if chosen.other is None:
        (tree,) = known
        parts = [
            write_sweep(folder / f"part-{place}-{seed}.yaml", keys, [encoding], [seed])
            for place, encoding in enumerate(encodings)
            for seed in seeds
        ]
        works["sweep"] = {
            APART: (tree, lambda tree, runs: apart(tree, parts, runs)),
            "one process": (tree, lambda tree, runs: one_after_another(tree, sweeps[tree.name], runs)),
        }
    else:
        if not chosen.sweep_only:
            works["cell"] = {
                t.name: (t, lambda tree, runs: one_after_another(tree, cells[tree.name], runs)) for t in known
            }
        if not chosen.cell_only:
            works["sweep"] = {
                t.name: (t, lambda tree, runs: side_by_side(tree, sweeps[tree.name], runs, count))
                for t in known
            }
    model = chosen.sweep.stem if chosen.sweep is not None else f"{chosen.size}, {chosen.extent}"
    settings = {"cells of": model, "steps": keys["train"].get("steps"), "device": chosen.device}
    settings |= {"compiled": str(chosen.compile), "cache": "empty" if chosen.cold else "filled"}
    for what, named in works.items():
        measured = encodings[:1] if what == "cell" else encodings
        number_of_cells = 1 if what == "cell" else len(measured) * len(seeds)
        beside = count if what == "sweep" and chosen.other is not None else 1
        setting = {
            "what": what,
            "cells": number_of_cells,
            "encodings": len(measured),
            "side by side": beside,
            **settings,
        }
        found: dict[str, list[Whole]] = {name: [] for name in named}
        to_fill = known if not chosen.cold and chosen.cache is None else []
        for number, tree in enumerate(to_fill):
            whole = keys_by_tree[tree.name]
            short = whole | {"train": shortened(whole["train"], _FILLING)}
            filling = write_sweep(folder / f"filling-{what}-{number}.yaml", short, measured, seeds[:1])
            side_by_side(tree, filling, folder / f"runs-{what}-filling-{number}", count)
        for number in range(chosen.rounds):
            for name, (tree, work) in named.items():
                if chosen.cold:
                    shutil.rmtree(tree.cache, ignore_errors=True)
                found[name].append(work(tree, folder / f"runs-{what}-{name.replace(' ', '-')}-{number}"))
        base = [whole.seconds for whole in next(iter(found.values()))]
        for name, wholes in found.items():
            row = compared(name, setting, [whole.seconds for whole in wholes], base)
            by_stage: dict[str, float | str | None] = {
                f"{stage} s": median(whole.stages[stage] for whole in wholes) for stage in STAGES
            }
            by_stage["evaluated in"] = evaluated[OWN if chosen.other is None else name]
            if number_of_cells == 1:
                by_stage["beyond training s"] = median(w.seconds - w.stages["training"] for w in wholes)
                busy = [whole.processor for whole in wholes if whole.processor is not None]
                by_stage["processor s"] = median(busy) if busy else None
            yield replace(row, more=by_stage)


def require_one_task(path: Path, parser: argparse.ArgumentParser) -> None:
    """Refuses a sweep whose cells have trainings of several lengths."""
    try:
        values, _ = read_mapping(path)
    except UserError as error:
        parser.error(f"--sweep: {error}")
    tasks = values.get("tasks", [])
    if len(tasks) != 1 or (isinstance(tasks[0], dict) and {"train", "from"} & tasks[0].keys()):
        parser.error(f"--sweep {path}: one task is measured, without a 'train' or a 'from' of its own")


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("--other", type=worktree, metavar="WORKTREE", help="of the commit to compare with")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="train through torch.compile")
    parser.add_argument("--cold", action="store_true", help="nothing is in the cache")
    parser.add_argument("--sweep", type=Path, help="a file, whose tasks, model and training are taken")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--cell-only", action="store_true", help="no sweep, with --other")
    part.add_argument("--sweep-only", action="store_true", help="no single cell, with --other")
    parser.add_argument(
        "--cache", type=Path, help="with filled ones, `other` and `this`, of which theirs are copies"
    )
    parser.add_argument("--encodings", nargs="+", help="by default those of the file, or rope and t5")
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--side-by-side", type=positive, default=2, help="workers of a sweep, with --other")
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--extent", type=positive, default=128)
    parser.add_argument("--steps", type=positive, help="by default 20, or those of the file")
    parser.add_argument("--batch", type=positive, default=8)
    parser.add_argument("--tokens", type=positive, default=8192, help="that are evaluated")
    parser.set_defaults(rounds=3)
    chosen = parser.parse_args()
    if chosen.sweep is not None:
        require_one_task(chosen.sweep, parser)
    for name in CACHES if chosen.cache is not None else ():
        if not (chosen.cache / name).is_dir():
            parser.error(f"--cache {chosen.cache} has no folder '{name}', for the cache of a tree")
    if chosen.other is None and (chosen.cell_only or chosen.sweep_only):
        parser.error("--cell-only and --sweep-only choose between what is measured with --other")
    with tempfile.TemporaryDirectory(prefix="pebench-benchmark-") as name:
        baseline = APART if chosen.other is None else OTHER
        report("Whole cells and sweeps", baseline, measure(chosen, Path(name)), chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
