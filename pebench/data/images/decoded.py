"""Pictures of a small set, decoded once into one file that all processes of a machine share."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pebench import atomic
from pebench.data.cache import digest, entry
from pebench.data.images.batches import workers
from pebench.data.images.pictures import NumberedPictures

if TYPE_CHECKING:
    from PIL.Image import Image

BOUND = 2 << 30
"""Bytes that the pixels of a split may take on disk. Those of a larger one are not kept: each picture is then
decoded whenever it is needed."""

_VERSION = 3
_AT_ONCE = 256
"""Pictures in memory while a set is gone through."""


class DecodedPictures(NumberedPictures):
    """The pictures of another source, which look the same and open without being decoded.

    The file is mapped into memory, so its pages are there once however many processes read it.
    """

    def __init__(self, source: NumberedPictures, folder: Path) -> None:
        """
        Args:
            source: of the pictures. folder: holds their pixels; see `examine`.
        """
        super().__init__(0)
        self.numbers, self.source, self.folder = source.numbers, source, folder
        self.index: NDArray[np.int64] = np.load(folder / "index.npy")
        ends = (self.index[:, 0] * self.index[:, 1] * 3).cumsum()
        self.starts = np.concatenate((np.zeros(1, np.int64), ends))
        self._map()

    def _map(self) -> None:
        # As a plain array: a slice of a `memmap` takes ten times as long.
        self.pixels = np.asarray(np.memmap(self.folder / "pixels.bin", np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "pixels"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._map()

    def fingerprint(self) -> str:
        """The source's."""
        return self.source.fingerprint()

    def load(self, item: int) -> tuple[Image, int]:
        """The picture from the file."""
        from PIL import Image

        rows, columns, label = self.index[item]
        pixels = self.pixels[self.starts[item] : self.starts[item + 1]]
        return Image.frombytes("RGB", (int(columns), int(rows)), pixels.tobytes()), int(label)

    def called(self, number: int) -> str:
        """As the source calls it."""
        return self.source.called(number)


def examine(pictures: NumberedPictures, mark: str) -> tuple[list[int], Path | None]:
    """Opens every picture, or remembers that it has, and keeps the pixels unless they are too many.

    Args:
        pictures: all that there are. mark: their fingerprint.

    Returns:
        The numbers of those that cannot be read, and the folder with the pixels of the others.

    Raises:
        UserError: the cache cannot be written.
    """
    numbers: list[int] = pictures.numbers.tolist()
    key = digest([_VERSION, mark, pictures.stamp(), BOUND])
    folder, found = entry("pictures", key, lambda folder: _decode_all(pictures, numbers, folder))
    return found["bad"], folder if found["kept"] else None


def _decode_all(pictures: NumberedPictures, numbers: list[int], folder: Path) -> dict[str, Any]:
    index = np.zeros((len(numbers), 3), np.int64)
    bad: list[int] = []
    kept = True
    with (
        atomic.replacing(folder / "pixels.bin") as temporary,
        temporary.open("wb") as file,
        # Decoding lets go of Python's lock, so threads are enough.
        ThreadPoolExecutor(workers() + 1) as pool,
    ):
        for first in range(0, len(numbers), _AT_ONCE):
            some = numbers[first : first + _AT_ONCE]
            decoded = pool.map(functools.partial(_decode, pictures), some)
            for number, found in zip(some, decoded, strict=True):
                if found is None:
                    bad.append(number)
                    continue
                pixels, label = found
                kept = kept and file.tell() + pixels.nbytes <= BOUND
                if kept:
                    file.write(pixels.tobytes())
                    index[number] = (*pixels.shape[:2], label)
        if not kept:
            file.truncate(0)
    kept = kept and len(bad) < len(numbers)
    if kept:
        with atomic.replacing(folder / "index.npy") as temporary, temporary.open("wb") as file:
            np.save(file, index)
    return {"bad": bad, "kept": kept}


def _decode(pictures: NumberedPictures, number: int) -> tuple[NDArray[np.uint8], int] | None:
    """(rows, columns, 3) pixels and the class, None for a picture that cannot be read."""
    found = pictures.attempt(number)
    return None if found is None else (np.asarray(found[0]), found[1])
