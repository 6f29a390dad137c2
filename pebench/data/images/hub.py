"""Pictures from the `datasets` library: sets of its hub, and folders or files that it can read."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pebench.data.cache import digest
from pebench.data.dataset import can_be_had, check_split, explained, identity
from pebench.data.images.pictures import NumberedPictures, PictureCorpus, Pictures, in_rgb
from pebench.data.splits import SPLITS
from pebench.errors import UserError, unknown
from pebench.randomness import derive

if TYPE_CHECKING:
    from PIL.Image import Image

Encoded = Mapping[str, Any]
"""How the library gives a picture that it has not decoded: ``bytes`` or ``path``."""

SHUFFLED = 10_000
"""Rows that a stream is shuffled within, beside the order of its files."""


class PreparedPictures(NumberedPictures):
    """A split that the library keeps on disk, in any order."""

    def __init__(self, rows: Any, image: str, label: str, fingerprint: str, name: str) -> None:
        super().__init__(len(rows))
        self.rows, self.image, self.label = rows, image, label
        self._fingerprint, self._name = fingerprint, name

    def fingerprint(self) -> str:
        """Of the set's version and the split."""
        return self._fingerprint

    def load(self, item: int) -> tuple[Image, int]:
        """A row's picture."""
        row = self.rows[item]
        return _decoded(row[self.image]), int(row[self.label])

    def called(self, number: int) -> str:
        """By its row."""
        return f"row {number} of {self._name}"


class StreamedPictures(Pictures):
    """A split whose rows are read as they come; an item is an encoded picture and its class.

    Training goes on from any step, but what comes before it is read again and passed over.
    """

    def __init__(self, rows: Any, image: str, label: str, fingerprint: str) -> None:
        self.rows, self.image, self.label = rows, image, label
        self._fingerprint = fingerprint

    def fingerprint(self) -> str:
        """Of the set's version and the split."""
        return self._fingerprint

    def load(self, item: tuple[Encoded, int]) -> tuple[Image, int]:
        """A row's picture."""
        return _decoded(item[0]), item[1]

    def called(self, item: tuple[Encoded, int]) -> str:
        """By its path, where it has one."""
        return str(item[0]["path"] or f"a picture of {len(item[0]['bytes'] or b'')} bytes")

    def training(self, seed: int, names: tuple[object, ...], start: int) -> Iterator[tuple[Encoded, int]]:
        """Passes over all rows, each shuffled anew."""
        shuffled = self.rows.shuffle(seed=derive(seed, *names) % 2**32, buffer_size=SHUFFLED)
        for epoch in itertools.count():
            shuffled.set_epoch(epoch)
            for row in shuffled:
                if start:
                    start -= 1
                else:
                    yield row[self.image], int(row[self.label])

    def evaluated(self) -> Iterator[tuple[Encoded, int]]:
        """Each row once."""
        return ((row[self.image], int(row[self.label])) for row in self.rows)


def hub(
    dataset: str,
    configuration: str | None,
    revision: str | None,
    splits: Mapping[str, str],
    columns: tuple[str | None, str | None],
    streaming: bool,
) -> PictureCorpus:
    """The pictures of a set that the library knows.

    Args:
        dataset: its name on the hub, or a folder. configuration: one of its own. revision: on the hub.
        splits: the library's name for each split; by default those that bear our names.
        columns: of the picture and of its class; None finds the only one there is.
        streaming: whether rows are read as they come instead of being prepared on disk.

    Raises:
        UserError: it cannot be had, or has no such columns or splits.
    """
    import datasets

    name = f"dataset '{dataset}'"
    with explained(dataset):
        builder = datasets.load_dataset_builder(dataset, configuration, revision=revision)
        if not streaming:
            builder.download_and_prepare()
        read = builder.as_streaming_dataset if streaming else builder.as_dataset
        if splits:
            rows = {split: read(split=written) for split, written in splits.items()}
        else:
            rows = {split: part for split, part in read().items() if split in SPLITS}
    if not rows:
        raise UserError(f"{name} has no splits of the usual names: name them as 'train' and 'validation'.")
    features = next(iter(rows.values())).features or {}
    image = _column(dataset, features, datasets.Image, columns[0])
    label = _column(dataset, features, datasets.ClassLabel, columns[1])
    parts: dict[str, Pictures] = {}
    for split, part in rows.items():
        encoded = part.cast_column(image, datasets.Image(decode=False)).select_columns([image, label])
        mark = digest([identity(builder), splits.get(split, split), image, label])
        parts[split] = (
            StreamedPictures(encoded, image, label, mark)
            if streaming
            else PreparedPictures(encoded, image, label, mark, f"{name}, split '{split}'")
        )
    return PictureCorpus(name, tuple(features[label].names), parts)


def check(
    dataset: str,
    configuration: str | None,
    revision: str | None,
    splits: Iterable[str],
    columns: tuple[str | None, str | None],
) -> None:
    """Looks for a set, its splits and its columns as far as it tells of them; fetches no pictures.

    Args:
        dataset, configuration, revision, columns: see `hub`.
        splits: as the library calls them.

    Raises:
        UserError: one of them is not there.
    """
    import datasets

    if not can_be_had(dataset):
        return
    with explained(dataset):
        builder = datasets.load_dataset_builder(dataset, configuration, revision=revision)
    for split in splits:
        check_split(dataset, builder, split)
    if builder.info.features:
        _column(dataset, builder.info.features, datasets.Image, columns[0])
        _column(dataset, builder.info.features, datasets.ClassLabel, columns[1])


def _column(dataset: str, features: Mapping[str, Any], kind: type, wanted: str | None) -> str:
    fitting = [name for name, feature in features.items() if isinstance(feature, kind)]
    if wanted is not None:
        if wanted not in fitting:
            raise unknown("column", wanted, fitting, f"dataset '{dataset}'")
        return wanted
    if len(fitting) != 1:
        what, option = ("classes", "label") if kind.__name__ == "ClassLabel" else ("pictures", "image")
        names = ", ".join(fitting) or "none"
        raise UserError(
            f"dataset '{dataset}' must have one column of {what}, not {names}: name it with '{option}'."
        )
    return fitting[0]


def _decoded(encoded: Encoded) -> Image:
    from PIL import Image, ImageOps

    with contextlib.ExitStack() as stack:
        content = encoded["bytes"]
        file = encoded["path"] if content is None else io.BytesIO(content)
        picture = stack.enter_context(Image.open(file))
        return in_rgb(ImageOps.exif_transpose(picture))
