"""How text without splits of its own is divided: 90 % to train on, 5 % to validate, 5 % to test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

SPLITS = ("train", "validation", "test")

SHARES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"train": (0, 90), "validation": (90, 95), "test": (95, 100)}
)
"""Where each split begins and ends, in percent of the whole."""

_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

_FILLERS = frozenset(
    {"", "data", "files", "images", "imgs", "of", "part", "set", "shard", "split", "text", "texts"}
)
"""Marks beside the word for a split in a name that says nothing else: ``train-00000-of-00002``."""

_ABOUT = frozenset({"readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog"})
"""Files that speak of the others."""


class Named(NamedTuple):
    """Names that tell splits apart.

    Attributes:
        splits: the names of each split that is named, in the order in which they were given.
        others: those of no split.
    """

    splits: dict[str, list[str]]
    others: list[str]

    @property
    def mostly_others(self) -> bool:
        """Whether more names are of no split than of one, those of a README and its like not counted."""
        return sum(not _speaks_of_others(name) for name in self.others) > sum(map(len, self.splits.values()))


def by_hash(names: Sequence[str]) -> dict[str, list[str]]:
    """Divides names at random but always alike: by the order of their hashes, at least one to a split.

    Args:
        names: all different, at least three.

    Returns:
        The names of each split, in the order in which they were given.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out = max(1, round(len(names) * 5 / 100))
    test, validation = set(ranked[:held_out]), set(ranked[held_out : 2 * held_out])
    return {
        "train": [name for name in names if name not in test and name not in validation],
        "validation": [name for name in names if name in validation],
        "test": [name for name in names if name in test],
    }


def by_name(paths: Iterable[str]) -> Named | None:
    """Divides paths by their names: ``wiki.train.tokens`` and ``train/emma.txt`` are to train on.

    A folder or a file whose whole name is train or training; valid, validation, val or dev; test or testing
    tells its split, whatever other names say. Words inside of longer names do so only where most of the names
    have one: a guide to Val-d'Isère makes no split of a folder of travel guides.

    Returns:
        None where fewer than two splits are named: one file that happens to be called test.txt does not make
        a test split.
    """
    paths = list(paths)
    whole = _divided(paths, _whole)
    if whole is not None:
        return whole
    inside = _divided(paths, _inside)
    return None if inside is None or inside.mostly_others else inside


def whole_names(names: Iterable[str]) -> Named | None:
    """Divides names as `by_name` does, by whole names alone."""
    return _divided(list(names), _whole)


def _divided(paths: Sequence[str], split_of: Callable[[str], str | None]) -> Named | None:
    splits: dict[str, list[str]] = {}
    others = []
    for path in paths:
        split = split_of(path)
        if split is None:
            others.append(path)
        else:
            splits.setdefault(split, []).append(path)
    return Named(splits, others) if len(splits) > 1 else None


def _whole(path: str) -> str | None:
    """The split of the first folder or file in a path whose whole name tells it."""
    *folders, file = PurePosixPath(path).parts
    for name in (*folders, file.partition(".")[0]):
        words = [word for word in _words(name) if word not in _FILLERS]
        if len(words) == 1 and words[0] in _WORDS:
            return _WORDS[words[0]]
    return None


def _inside(path: str) -> str | None:
    """The split of the first word in a path that tells one."""
    return next((_WORDS[word] for word in _words(path) if word in _WORDS), None)


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z]+", name.lower())


def _speaks_of_others(path: str) -> bool:
    return not _ABOUT.isdisjoint(_words(PurePosixPath(path).name))
