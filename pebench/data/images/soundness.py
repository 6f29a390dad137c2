"""Pictures that cannot be read: found once for each set, named and counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from pebench.data.cache import digest, entry
from pebench.data.images.batches import workers
from pebench.data.images.pictures import NumberedPictures, Pictures
from pebench.errors import UserError

BadImages = Literal["refuse", "skip"]

NAMED = 5
"""Bad pictures that a message names."""

_VERSION = 1


def sift(pictures: Pictures, name: str, bad_images: BadImages) -> dict[str, str]:
    """Opens every picture of a split, or remembers that it has, and deals with those that cannot be read.

    Streamed pictures are not looked at beforehand.

    Args:
        pictures: those that are bad are left out of them. name: how messages call the split.
        bad_images: whether one that is bad is an error, or passed over with a word.

    Returns:
        The fingerprint of what is left, and what was passed over.

    Raises:
        UserError: there are bad ones and they are refused, or nothing is left.
    """
    mark = pictures.fingerprint()
    if pictures.quick or not isinstance(pictures, NumberedPictures):
        return {name: mark}
    bad = _bad(pictures, mark)
    if not bad:
        return {name: mark}
    said = f"{len(bad)} of {len(pictures.numbers)} pictures cannot be read: {_names(pictures, bad)}"
    if bad_images == "refuse":
        raise UserError(f"split '{name}': {said}; 'bad_images: skip' passes over them.")
    if len(bad) == len(pictures.numbers):
        raise UserError(f"split '{name}': {said}, and so nothing is left.")
    logging.getLogger("pebench.data").warning("split '%s': %s; they are passed over.", name, said)
    pictures.without(bad)
    return {name: digest([mark, bad]), f"{name}, passed over": said}


def _bad(pictures: NumberedPictures, mark: str) -> list[int]:
    numbers: list[int] = pictures.numbers.tolist()

    def look(_: Path) -> dict[str, Any]:
        # Decoding lets go of Python's lock, so threads are enough.
        with ThreadPoolExecutor(workers() + 1) as pool:
            sound = list(pool.map(lambda number: _is_sound(pictures, number), numbers))
        return {"bad": [number for number, good in zip(numbers, sound, strict=True) if not good]}

    found: list[int] = entry("pictures", digest([_VERSION, mark]), look).metadata["bad"]
    return found


def _is_sound(pictures: NumberedPictures, number: int) -> bool:
    from PIL import UnidentifiedImageError

    try:
        pictures.load(number)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False
    return True


def _names(pictures: NumberedPictures, bad: Sequence[int]) -> str:
    named = ", ".join(pictures.called(number) for number in bad[:NAMED])
    return named if len(bad) <= NAMED else f"{named} and {len(bad) - NAMED} more"
