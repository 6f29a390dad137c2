"""Commands that train nothing: the processor time of showing, submitting and mirroring, in whole processes.

- `submit` is of twelve cells, to one worker in the background, whose own time does not count.
- `sync` is the first of --runs finished runs into an embedded store.

A cache holds what an earlier call has left there. In rows `for the first time` it is empty.

With `--other` a worktree of another commit takes turns with this one and is the baseline. Without it the
baseline is `show` for the first time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring.alternation import WALL, Row, compared
from measuring.reporting import Arguments, positive, report
from measuring.trees import OTHER, Tree, trees, worktree

FIRST = "show, for the first time"

TWELVE = {
    "name": "twelve",
    "encodings": ["none", "rope", "alibi", "t5", "kerple", "fire"],
    "tasks": [{"language-modeling": {"extent": 16, "evaluate": [16, 32], "tokens": 64}}],
    "model": {"width": 16, "layers": 1, "heads": 2},
    "train": {"steps": 2, "batch": 2},
    "seeds": 2,
}

MAKE = """
import pathlib, sys
from sync import make_runs
make_runs(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""
"""A program that makes finished runs, by the code of the tree that is to read them."""

CREATE = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(*sys.argv[1:])
"""
"""A program that makes an empty store."""


def show(tree: Tree, folder: Path) -> float:
    """Processor seconds of `pebench show rope`."""
    return tree.spent("show", "rope").processor


def submit(tree: Tree, folder: Path) -> float:
    """Processor seconds of submitting twelve cells; what it starts is cancelled and awaited."""
    sweep, runs = folder / "twelve.yaml", folder / "runs"
    sweep.write_text(json.dumps(TWELVE))
    seconds = tree.spent("submit", str(sweep), "--runs", str(runs), "--cluster", "local").processor
    subprocess.run(
        tree.command("cancel", "twelve", "--runs", str(runs)), check=True, stdout=subprocess.DEVNULL
    )
    return seconds


def sync(tree: Tree, folder: Path, count: int) -> float:
    """Processor seconds of the first mirroring of finished runs into a store that is there."""
    runs, store = folder / "runs", f"sqlite:///{folder}/store.db"
    subprocess.run(tree.python(MAKE, str(runs), str(count)), check=True)
    made = tree.python(CREATE, store, str(folder / "artifacts"))
    subprocess.run(made, check=True, stderr=subprocess.DEVNULL)
    return tree.spent("sync", "--runs", str(runs), "--to", store).processor


def measure(other: Path | None, count: int, rounds: int, folder: Path) -> Iterator[Row]:
    """Rows by command and tree."""
    known = trees(other, folder)
    works: dict[str, Callable[[Tree, Path], float]] = {
        "show": show,
        "submit of 12 cells": submit,
        f"first sync of {count} runs": lambda tree, place: sync(tree, place, count),
    }
    found: dict[tuple[str, str, bool], list[float]] = {}
    for number in range(rounds):
        for name, work in works.items():
            for cold in (True, False):
                for tree in known:
                    if cold:
                        shutil.rmtree(tree.cache, ignore_errors=True)
                    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{number}-") as place:
                        seconds = work(tree, Path(place))
                    found.setdefault((name, tree.name, cold), []).append(seconds)
    first = known[0].name
    for (name, tree_name, cold), own in found.items():
        what = f"{name}, for the first time" if cold else name
        if other is None:
            yield compared(what, {}, own, found["show", first, True])
        else:
            yield compared(tree_name, {"what": what}, own, found[name, first, cold])


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("--other", type=worktree, metavar="WORKTREE", help="of the commit to compare with")
    parser.add_argument("--runs", type=positive, default=32)
    parser.set_defaults(rounds=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pebench-benchmark-", ignore_cleanup_errors=True) as name:
        rows = measure(chosen.other, chosen.runs, chosen.rounds, Path(name))
        report("Commands", FIRST if chosen.other is None else OTHER, rows, chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
