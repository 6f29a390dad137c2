"""Files that a source of data does not take: named and counted, so that none is missed without a word."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pebench.errors import first_of

LEFT_OUT = "left out"
"""Beside the fingerprints of a run's data, the sentence of what is none of it."""

_NAMED = 3


def sentence(left_out: Sequence[str], total: int, owner: str) -> str:
    """How much of a source is left out, empty for nothing: ``"2 of 20 files of 'guide' are left out: …"``.

    Args:
        left_out: names below the source. total: files that there are. owner: how messages call the source.
    """
    if not left_out:
        return ""
    names = first_of([f"'{name}'" for name in left_out], _NAMED)
    are = "is" if len(left_out) == 1 else "are"
    return f"{len(left_out)} of {total} files of {owner} {are} left out: {names}"


def noted(said: str) -> dict[str, str]:
    """The sentence as it stands beside fingerprints, nothing for an empty one; the log tells it, too."""
    if not said:
        return {}
    logging.getLogger("pebench.data").warning("%s.", said)
    return {LEFT_OUT: said}
