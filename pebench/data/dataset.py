"""Text from the `datasets` library: sets of its hub, and tables in files that it can read."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebench.data.cache import digest
from pebench.data.files import raw_contents
from pebench.errors import UserError, unknown


@dataclass(frozen=True)
class DatasetRows:
    """The rows of one split of a data set.

    Attributes:
        dataset: its name on the hub, a folder, or a kind of file that the library reads (``"json"``).
        configuration: one of those the set has, None for its only one.
        revision: commit, tag or branch on the hub.
        files: for a kind of file, the files of each split.
        split: as the library writes it, slices included: ``"train[:90%]"``.
        column: the column that holds the text.
        lines: whether all rows together are one document of which each is a line, or each is a document.
        streaming: whether rows are read as they come instead of being prepared on disk.
    """

    dataset: str
    configuration: str | None
    revision: str | None
    files: tuple[tuple[str, tuple[str, ...]], ...]
    split: str
    column: str
    lines: bool
    streaming: bool

    def fingerprint(self) -> str:
        """Stands for the content of local files, or for the name, version and hash of a set on the hub."""
        return digest([identity(self._builder()), self.split, self.column, self.lines])

    def check(self) -> None:
        """Looks for the set, the split and the column; of files on this machine at the first row. No rows are
        fetched.

        Raises:
            UserError: a file, the set, the split or the column is not there.
        """
        named = [path for _, paths in self.files for path in paths]
        # What stands for several files is the library's to find.
        local = [path for path in named if not set("*?[") & set(path) and "://" not in path]
        missing = [path for path in local if not Path(path).exists()]
        if missing:
            raise UserError(f"dataset '{self.dataset}': no file at '{missing[0]}'.")
        if not (named or can_be_had(self.dataset)):
            return
        builder = self._builder()
        check_split(self.dataset, builder, self.split)
        columns = list(builder.info.features or {})
        if not columns and "://" not in "".join(named) and (named or Path(self.dataset).exists()):
            with explained(self.dataset):
                rows = builder.as_streaming_dataset(split=re.split(r"[\[+]", self.split)[0].strip())
                columns = list(next(iter(rows), {}))
        if columns and self.column not in columns:
            raise unknown("column", self.column, columns, f"dataset '{self.dataset}'")

    def documents(self) -> Iterator[Iterator[str]]:
        """The rows, or all of them as lines of one document; line ends are made one newline."""
        texts = self._texts()
        if self.lines:
            yield (text.removesuffix("\n") + "\n" for text in texts)
        else:
            for text in texts:
                yield iter([text])

    def _texts(self) -> Iterator[str]:
        with explained(self.dataset):
            rows = self._rows()
            columns = rows.column_names or list(next(iter(rows), {}))
            if self.column not in columns:
                raise unknown("column", self.column, columns, f"dataset '{self.dataset}'")
            batches: Iterable[dict[str, list[Any]]] = rows.select_columns([self.column]).iter(batch_size=64)
            values = (value for batch in batches for value in batch[self.column])
            for number, value in enumerate(values):
                yield self._text(number, value)

    def _text(self, number: int, value: Any) -> str:
        if not isinstance(value, str):
            raise UserError(
                f"dataset '{self.dataset}', split '{self.split}': row {number} holds no text in column "
                f"'{self.column}' but {type(value).__name__}."
            )
        return value.replace("\r\n", "\n").replace("\r", "\n")

    def _rows(self) -> Any:
        builder = self._builder()
        if self.streaming:
            return builder.as_streaming_dataset(split=self.split)
        builder.download_and_prepare()
        return builder.as_dataset(split=self.split)

    def _builder(self) -> Any:
        import datasets

        files = {split: list(paths) for split, paths in self.files} or None
        with explained(self.dataset):
            return datasets.load_dataset_builder(
                self.dataset, self.configuration, data_files=files, revision=self.revision
            )


@functools.cache
def can_be_had(dataset: str) -> bool:
    """Whether a set is a folder here or the hub answers. Where neither is so, and the library has not kept
    the set either, a line in the log says that its name could not be looked up."""
    import datasets
    import requests

    if Path(dataset).exists():
        return True
    if not datasets.config.HF_HUB_OFFLINE:
        with contextlib.suppress(requests.RequestException):
            requests.head(datasets.config.HF_ENDPOINT, timeout=5)
            return True
    kept = Path(datasets.config.HF_DATASETS_CACHE) / dataset.replace("/", "___")
    if not kept.exists():
        logging.getLogger("pebench.data").warning(
            "dataset '%s' is not on this machine, and the hub does not answer here: it was not looked up.",
            dataset,
        )
    return False


def check_split(dataset: str, builder: Any, split: str) -> None:
    """Looks for a split, slices and sums included, where the set says which ones it has.

    Raises:
        UserError: it is not there.
    """
    known = [str(name) for name in builder.info.splits or builder.config.data_files or ()]
    for part in split.split("+"):
        name = part.partition("[")[0].strip()
        if known and name not in (*known, "all"):
            raise unknown("split", name, known, f"dataset '{dataset}'")


@contextlib.contextmanager
def explained(dataset: str) -> Iterator[None]:
    """Turns what the library raises into one sentence about the set."""
    import datasets

    try:
        yield
    except ConnectionError as error:
        raise UserError(
            f"dataset '{dataset}' is neither on this machine nor to be had from the hub ({error})."
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        generating = isinstance(error, datasets.exceptions.DatasetGenerationError)
        reason = str(error.__cause__ if generating else error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"dataset '{dataset}' cannot be loaded: {reason}.") from error


def identity(builder: Any) -> list[str]:
    """Stands for the content of local files, or for the name, version and hash of a set on the hub."""
    files = [Path(path) for paths in (builder.config.data_files or {}).values() for path in paths]
    if files and all(path.is_file() for path in files):
        return [builder.name, *(content.sha256 for content in raw_contents(files))]
    # The library keeps a set under its name, configuration, version and a hash that covers the commit.
    return list(Path(builder.cache_dir).parts[-4:])
