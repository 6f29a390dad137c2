"""Pictures that cannot be read: found once for each set, named and counted."""

from __future__ import annotations

import logging

from pebench.data.cache import digest
from pebench.data.images.decoded import DecodedPictures, examine
from pebench.data.images.pictures import BadImages, NumberedPictures, Pictures
from pebench.errors import UserError, first_of

NAMED = 5
"""Bad pictures that a message names."""


def sift(pictures: Pictures, name: str, bad_images: BadImages) -> tuple[Pictures, dict[str, str]]:
    """Opens every picture of a split, or remembers that it has, and deals with those that cannot be read.

    Streamed pictures are not looked at beforehand; see `batches`.

    Args:
        pictures: those that are bad are left out of them. name: how messages call the split.
        bad_images: whether one that is bad is an error, or passed over with a word.

    Returns:
        What is left, decoded once for all where it is small enough (see `decoded`); and its fingerprint, with
        what was passed over.

    Raises:
        UserError: there are bad ones and they are refused, or nothing is left.
    """
    mark = pictures.fingerprint()
    if pictures.quick or not isinstance(pictures, NumberedPictures):
        return pictures, {name: mark}
    bad, folder = examine(pictures, mark)
    found = {name: mark}
    if bad:
        found = _passed_over(pictures, name, bad, bad_images, mark)
        pictures.without(bad)
    return pictures if folder is None else DecodedPictures(pictures, folder), found


def _passed_over(
    pictures: NumberedPictures, name: str, bad: list[int], bad_images: BadImages, mark: str
) -> dict[str, str]:
    named = first_of([pictures.called(number) for number in bad], NAMED)
    said = f"{len(bad)} of {len(pictures.numbers)} pictures cannot be read: {named}"
    if bad_images == "refuse":
        raise UserError(f"split '{name}': {said}; 'bad_images: skip' passes over them.")
    if len(bad) == len(pictures.numbers):
        raise UserError(f"split '{name}': {said}, and so nothing is left.")
    logging.getLogger("pebench.data").warning("split '%s': %s; they are passed over.", name, said)
    return {name: digest([mark, bad]), f"{name}, passed over": said}
