"""A folder of class folders: ``cat/1.jpg``, or ``train/cat/1.jpg`` where the splits have folders too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pebench.data.cache import digest
from pebench.data.images.pictures import NumberedPictures, PictureCorpus
from pebench.data.splits import SPLITS, by_hash, by_name
from pebench.errors import UserError, join_and

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
"""Of the files that are taken for pictures, in small letters."""


class PictureFiles(NumberedPictures):
    """Files, each with its class."""

    def __init__(self, root: Path, files: list[tuple[str, int]]) -> None:
        """
        Args:
            root: the folder. files: paths below it, and the numbers of their classes.
        """
        super().__init__(len(files))
        self.root, self.files = root, files

    def fingerprint(self) -> str:
        """Of names, sizes and classes: the content of a large set would take hours to read."""
        return digest([(name, (self.root / name).stat().st_size, label) for name, label in self.files])

    def stamp(self) -> str:
        """Of the times at which the files were written."""
        return digest([(self.root / name).stat().st_mtime_ns for name, _ in self.files])

    def load(self, item: int) -> tuple[Image, int]:
        """The picture, turned as its camera says it was held."""
        from PIL import Image, ImageOps

        name, label = self.files[item]
        with Image.open(self.root / name) as picture:
            upright = ImageOps.exif_transpose(picture)
            return upright.convert("RGB"), label

    def called(self, number: int) -> str:
        """By its path."""
        return str(self.root / self.files[number][0])


def folder(written: str) -> PictureCorpus:
    """The pictures of a folder. Names are read, but no picture.

    Folders named after splits (train; valid, validation, val or dev; test) tell the splits apart; without at
    least two of these the pictures are divided 90/5/5 by the hashes of their paths.

    Args:
        written: its path; ``~`` and environment variables (``$DATA``) are filled in.

    Raises:
        UserError: it is not there, holds no class folders, or a split has a class that training lacks.
    """
    root = Path(os.path.expandvars(written)).expanduser()
    if "$" in str(root):
        raise UserError(f"'{written}' names an environment variable that is not set.")
    if not root.is_dir():
        raise UserError(f"no folder of pictures at '{written}'.")
    files = {name: _class_of(name) for name in _pictures(root)}
    if not any(files.values()):
        raise UserError(
            f"'{written}' holds no class folders with pictures ({', '.join(e[1:] for e in ENDINGS)})."
        )
    top = sorted({name.split("/")[0] for name in files})
    named = by_name(top)
    if named is None:
        names = [name for name, label in files.items() if label]
        if len(names) < len(SPLITS):
            raise UserError(f"'{written}' holds {len(names)} pictures, which do not make three splits.")
        parts: Mapping[str, list[str]] = by_hash(names)
    else:
        split_of = {folder: split for split, folders in named.items() for folder in folders}
        parts = {split: [] for split in SPLITS if split in named}
        for name, label in files.items():
            if name.split("/")[0] in split_of and label and name.count("/") > 1:
                parts[split_of[name.split("/")[0]]].append(name)
    classes = tuple(sorted({files[name] for name in parts.get("train", ())}))
    numbers = {label: number for number, label in enumerate(classes)}
    for split, names in parts.items():
        strange = sorted({files[name] for name in names} - set(classes))
        if strange:
            raise UserError(f"'{written}', split '{split}': no training picture of {join_and(strange)}.")
        if not names:
            raise UserError(f"'{written}', split '{split}' holds no pictures in class folders.")
    return PictureCorpus(
        f"'{written}'",
        classes,
        {
            split: PictureFiles(root, [(name, numbers[files[name]]) for name in names])
            for split, names in parts.items()
        },
    )


def _class_of(name: str) -> str:
    """The folder that a picture lies in; empty for one that lies in none."""
    return name.rpartition("/")[0].rpartition("/")[2]


def _pictures(root: Path) -> Iterator[str]:
    """Paths of pictures below a folder, in order; what is hidden is passed over."""
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield Path(place, name).relative_to(root).as_posix()
