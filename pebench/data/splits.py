"""How text without splits of its own is divided: 90 % to train on, 5 % to validate, 5 % to test."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

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


def by_name(paths: Iterable[str]) -> dict[str, list[str]] | None:
    """Divides paths by the words in them: ``wiki.train.tokens`` and ``train/emma.txt`` are to train on.

    The words are train or training; valid, validation, val or dev; test or testing. The first one in a path
    counts. Paths without such a word (a README, a licence) belong to no split.

    Returns:
        The paths of each split that is named, in the order in which they were given, or None where fewer than
        two splits are named: one file that happens to be called test.txt does not make a test split.
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        words = re.split(r"[^a-z]+", path.lower())
        split = next((_WORDS[word] for word in words if word in _WORDS), None)
        if split is not None:
            found.setdefault(split, []).append(path)
    return found if len(found) > 1 else None
