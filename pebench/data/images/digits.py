"""Scanned digits, 1,797 pictures of 8×8 pixels, which come with scikit-learn (Alpaydin & Kaynak 1998)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pebench.data.cache import digest
from pebench.data.images.pictures import NumberedPictures, PictureCorpus
from pebench.randomness import generator

if TYPE_CHECKING:
    from PIL.Image import Image

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
"""Of a fixed random order: in the order of the set writers stand together."""


class Digits(NumberedPictures):
    """The digits of one split."""

    quick = True

    def __init__(self, split: str) -> None:
        self.split = split
        super().__init__(len(_order()[split]))

    def fingerprint(self) -> str:
        """Of the pixels and the classes."""
        pixels, labels = _digits()
        order = _order()[self.split]
        return digest([pixels[order].tolist(), labels[order].tolist()])

    def load(self, item: int) -> tuple[Image, int]:
        """A grey picture in RGB."""
        from PIL import Image

        pixels, labels = _digits()
        number = int(_order()[self.split][item])
        return Image.fromarray(pixels[number]).convert("RGB"), int(labels[number])

    def arrays(self) -> tuple[Tensor, Tensor]:
        """All of them: (count, 8, 8) uint8 pixels and (count,) classes."""
        pixels, labels = _digits()
        order = _order()[self.split]
        return torch.from_numpy(pixels[order]), torch.from_numpy(labels[order])

    def called(self, number: int) -> str:
        """By its number in the set."""
        return f"digit {int(_order()[self.split][number])}"


def digits() -> PictureCorpus:
    """All of them."""
    return PictureCorpus("'digits'", tuple("0123456789"), {split: Digits(split) for split in SHARES})


@functools.cache
def _digits() -> tuple[Any, Any]:
    """(1797, 8, 8) uint8 pixels and (1797,) classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 255 / 16).round().astype("uint8"), found.target


@functools.cache
def _order() -> dict[str, Any]:
    count = len(_digits()[1])
    order = torch.randperm(count, generator=generator(0, "digits"))
    train = round(count * SHARES["train"])
    validation = train + round(count * SHARES["validation"])
    parts = (order[:train], order[train:validation], order[validation:])
    return {split: part.numpy() for split, part in zip(SHARES, parts, strict=True)}
