"""Interface of every source of pictures."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from pebench.errors import UserError, join_and, quoted, there_is
from pebench.randomness import generator

if TYPE_CHECKING:
    from PIL.Image import Image

BadImages = Literal["refuse", "skip"]
"""Fate of pictures that cannot be read: they end the run, or are passed over with a word."""

Item = Any
"""Key by which a source opens a picture: its number, or its bytes and its class."""


def in_rgb(picture: Image) -> Image:
    """A picture in RGB of 8 bits a channel, as `PIL` converts it, with grey of 16 bits scaled. Transparency
    is left out.

    Raises:
        ValueError: its values have no known white: floats and whole numbers of 32 bits.
    """
    from PIL import Image

    if picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError(f"a picture of mode {picture.mode} has no known white")
    return picture.convert("RGB")


class Pictures(ABC):
    """The pictures of one split.

    Attributes:
        quick: whether they are in memory and tiny, so that opening them is not worth a process.
    """

    quick: bool = False

    @abstractmethod
    def fingerprint(self) -> str:
        """Equal for equal pictures with equal classes."""

    @abstractmethod
    def load(self, item: Item) -> tuple[Image, int]:
        """A picture in RGB, and the number of its class."""

    @abstractmethod
    def called(self, item: Item) -> str:
        """How messages call a picture."""

    def shared_with(self, other: Pictures) -> list[str]:
        """What those are called that the other has too, as far as that is known without opening any."""
        return []

    def attempt(self, item: Item) -> tuple[Image, int] | None:
        """Result of `load`, None for a picture that cannot be read."""
        from PIL.Image import DecompressionBombError

        try:
            return self.load(item)
        except (OSError, EOFError, ValueError, SyntaxError, struct.error, DecompressionBombError):
            return None

    @abstractmethod
    def training(self, seed: int, names: tuple[object, ...], start: int) -> Iterator[Item]:
        """The endless order in which they are trained on, from a place in it on: a function of the seed and
        the names."""

    @abstractmethod
    def evaluated(self) -> Iterator[Item]:
        """Each once, in the order of the source."""


class NumberedPictures(Pictures):
    """Pictures that can be opened in any order; an item is a number.

    Attributes:
        numbers: those in use, all from the beginning.
    """

    def __init__(self, count: int) -> None:
        self.numbers = torch.arange(count)

    def without(self, bad: list[int]) -> None:
        """Passes over the pictures of these numbers from now on."""
        self.numbers = self.numbers[~torch.isin(self.numbers, torch.tensor(bad, dtype=torch.long))]

    def stamp(self) -> str:
        """Changes whenever the pictures may have changed on this machine, where the fingerprint, which is the
        same on every machine, cannot tell; by default it can."""
        return ""

    def training(self, seed: int, names: tuple[object, ...], start: int) -> Iterator[int]:
        """Passes over all of them, each in an order of its own."""
        epoch, place = divmod(start, len(self.numbers))
        while True:
            order = torch.randperm(len(self.numbers), generator=generator(seed, *names, epoch))
            yield from self.numbers[order[place:]].tolist()
            epoch, place = epoch + 1, 0

    def evaluated(self) -> Iterator[int]:
        """Each once."""
        return iter(self.numbers.tolist())


@dataclass(frozen=True)
class PictureCorpus:
    """Pictures in splits.

    Attributes:
        name: how messages call it. classes: their names; a picture's class is a number into these.
        splits: the pictures of each split that there is.
        left_out: the sentence of files that are none of them; see `pebench.data.left_out`.

    Raises:
        UserError: there is but one class, which every guess would meet.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Pictures]
    left_out: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UserError(
                f"{self.name} has one class, {join_and(self.classes)}, and nothing to tell apart: a class is "
                "a folder right below the one that is named, or below its split."
            )

    def split(self, name: str) -> Pictures:
        """The pictures of a split.

        Raises:
            UserError: there is no such split.
        """
        if name not in self.splits:
            raise UserError(f"{self.name} has no split '{name}': {there_is(self.splits)}.")
        return self.splits[name]

    def require_unseen(self, split: str) -> None:
        """Refuses to judge what was trained by pictures that it was trained on.

        Raises:
            UserError: the split has some.
        """
        seen = self.split(split).shared_with(self.split("train")) if split != "train" else []
        if seen:
            raise UserError(
                f"{self.name}: pictures of split '{split}' are pictures of training too, {len(seen)} of "
                f"them, as {quoted(seen[0])}; a picture belongs to one split."
            )
