"""The source tree that a benchmark belongs to and another one, whose programs take turns."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from measuring.processes import Spent, spent

HERE = Path(__file__).resolve().parents[2]
"""The tree of this file."""

OTHER = "the other tree"
"""Name of rows that were measured there, as the baseline."""

OWN = "this tree"
"""Name of the others."""

_BEGINNINGS = {OTHER: "other", OWN: "this"}

CACHES = tuple(_BEGINNINGS.values())
"""Folders of the caches that those of the trees begin as."""


@dataclass(frozen=True)
class Tree:
    """A source tree with a cache of its own.

    Attributes:
        name: of its rows.
        root: the folder that holds the package.
        cache: the folder of its cache.
    """

    name: str
    root: Path
    cache: Path

    def command(self, *arguments: str) -> list[str]:
        """A command of pebench, to be run in any folder."""
        # Workers in the background do not inherit `-P`: those of older commits took the folder's package.
        environment = [f"PYTHONPATH={self.root}", "PYTHONSAFEPATH=1", f"PEBENCH_CACHE={self.cache}"]
        return ["env", *environment, sys.executable, "-m", "pebench", *arguments]

    def python(self, code: str, *arguments: str) -> list[str]:
        """A program that imports its package and its benchmarks."""
        places = f"{self.root}{os.pathsep}{self.root / 'benchmarks'}"
        return ["env", f"PYTHONPATH={places}", sys.executable, "-P", "-c", code, *arguments]

    def spent(self, *arguments: str) -> Spent:
        """The costs of a command of pebench."""
        return spent(self.command(*arguments))


def worktree(text: str) -> Path:
    """The root of another tree.

    Raises:
        ArgumentTypeError: it holds no package, so that the installed one would be measured in its place.
    """
    root = Path(text)
    if not (root / "pebench" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is no worktree of pebench")
    return root


def trees(other: Path | None, folder: Path, beginning: Path | None = None) -> list[Tree]:
    """The other tree first, where one is named, and this one.

    Args:
        other: its root.
        folder: of their caches.
        beginning: a folder with caches, `other` and `this`, of which theirs are copies, since a commit may
            not read what a later one kept; None for empty ones.
    """
    named = {} if other is None else {OTHER: other.resolve()}
    places = {**named, OWN: HERE}
    numbered = enumerate(places.items())
    found = [Tree(name, root, folder / f"cache-{number}") for number, (name, root) in numbered]
    for tree in found:
        if beginning is not None:
            shutil.copytree(beginning / _BEGINNINGS[tree.name], tree.cache)
    return found
