"""Text from the `datasets` library: sets of its hub, and tables in files that it can read."""

from __future__ import annotations

import contextlib
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
        """Reads the first row of a set whose files are named; nothing is fetched.

        Raises:
            UserError: a file, the split or the column is not there.
        """
        named = [path for _, paths in self.files for path in paths]
        if not named or any("://" in path for path in named):
            return
        # What stands for several files is the library's to find.
        missing = [path for path in named if not set("*?[") & set(path) and not Path(path).exists()]
        if missing:
            raise UserError(f"dataset '{self.dataset}': no file at '{missing[0]}'.")
        with explained(self.dataset):
            first: dict[str, Any] = next(iter(self._builder().as_streaming_dataset(split=self.split)), {})
        if self.column not in first:
            raise unknown(f"column of dataset '{self.dataset}'", self.column, list(first))

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
                raise unknown(f"column of dataset '{self.dataset}'", self.column, columns)
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
