"""A folder of class folders: ``cat/1.jpg``, or ``train/cat/1.jpg`` where the splits have folders too."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pebench.data.cache import digest
from pebench.data.files import path_to, told, walk
from pebench.data.images.pictures import NumberedPictures, PictureCorpus, Pictures, in_rgb
from pebench.data.left_out import sentence
from pebench.data.splits import SPLITS, by_hash, by_name, whole_names
from pebench.data.tables import is_table, refuse_saved
from pebench.errors import UserError, join_and, quoted

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
            return in_rgb(ImageOps.exif_transpose(picture)), label

    def shared_with(self, other: Pictures) -> list[str]:
        """Those that the other has under the same class and name, with the same bytes."""
        if not isinstance(other, PictureFiles):
            return []
        theirs = {_in_its_class(*file): other.root / file[0] for file in other.files}
        pairs = [(name, theirs.get(_in_its_class(name, label))) for name, label in self.files]
        return [name for name, one in pairs if one and filecmp.cmp(self.root / name, one, shallow=False)]

    def called(self, number: int) -> str:
        """By its path."""
        return str(self.root / self.files[number][0])


def _in_its_class(name: str, label: int) -> tuple[str, int]:
    """What a picture is called whatever split it stands in."""
    return name.partition("/")[2], label


def folder(written: str) -> PictureCorpus:
    """The pictures of a folder. Names are read, but no picture.

    Folders named after splits (train; valid, validation, val or dev; test) tell the splits apart; without at
    least two of these the pictures are divided 90/5/5 by the hashes of their paths. A class is a folder right
    below a split, or below the folder itself where there are no splits, whatever lies in it.

    Args:
        written: its path; ``~`` and environment variables (``$DATA``) are filled in.

    Raises:
        UserError: it is not there, holds no class folders or but one, or a split has a class that training
            lacks.
    """
    root = path_to(written)
    if root is None or not root.is_dir():
        raise UserError(f"no folder of pictures at {told(written)}.")
    found = walk(root)
    refuse_saved(root, found.files)
    pictures = [name for name in found.files if name.lower().endswith(ENDINGS)]
    tops = {name.partition("/")[0] for name in pictures if "/" in name}
    split_of = _splits(tops, pictures)
    files = {}
    for name in pictures:
        top, *below = name.split("/")
        split, inside = (split_of.get(top), below) if split_of else ("", [top, *below])
        # What lies beside the splits, or in no folder of a class, is no example.
        if split is not None and len(inside) > 1:
            files[name] = split, inside[0]
    if not files:
        tables = any(is_table(name) for name in found.files)
        hint = "; '{dataset: FOLDER}' lets the 'datasets' library read tables" if tables else ""
        endings = ", ".join(ending[1:] for ending in ENDINGS)
        raise UserError(f"'{written}' holds no class folders with pictures ({endings}){hint}.")
    if split_of:
        named = {split_of[top] for top in tops if top in split_of}
        parts: Mapping[str, list[str]] = {
            split: [name for name, (own, _) in files.items() if own == split]
            for split in SPLITS
            if split in named
        }
    else:
        if len(files) < len(SPLITS):
            raise UserError(f"'{written}' holds {len(files)} pictures, which do not make three splits.")
        parts = by_hash(list(files))
    classes = tuple(sorted({files[name][1] for name in parts.get("train", ())}))
    numbers = {label: number for number, label in enumerate(classes)}
    for split, names in parts.items():
        strange = sorted({files[name][1] for name in names} - set(classes))
        if strange:
            raise UserError(
                f"'{written}', split '{split}': no training picture of {join_and(strange)}; a picture lies "
                f"in a folder named after its class, right below {quoted(names[0].partition('/')[0])}."
            )
        if not names:
            raise UserError(f"'{written}', split '{split}' holds no pictures in class folders.")
    left_out = [name for name in (*found.files, *found.strange) if name not in files]
    return PictureCorpus(
        f"'{written}'",
        classes,
        {
            split: PictureFiles(root, [(name, numbers[files[name][1]]) for name in names])
            for split, names in parts.items()
        },
        sentence(left_out, len(found.files) + len(found.strange), f"'{written}'"),
    )


def _splits(tops: Iterable[str], pictures: Sequence[str]) -> dict[str, str]:
    """The split of each folder at the top that is named after one; empty where they are classes."""
    named = whole_names(sorted(tops))
    if named is None:
        # A folder 'bullet train' is a class: splits hold no pictures themselves, and there is nothing else.
        named = by_name(sorted(tops)) if all(name.count("/") > 1 for name in pictures) else None
        if named is None or named.others:
            return {}
    return {top: split for split, names in named.splits.items() for top in names}
