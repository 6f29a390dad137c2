"""Where text comes from, and how it is divided into documents and splits."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import model_validator

from pebench.data.dataset import DatasetRows
from pebench.data.files import FileShare, TextFiles, files_of
from pebench.data.pieces import cut
from pebench.data.python_docs import PythonDocs
from pebench.data.source import DataSource
from pebench.data.splits import SHARES, SPLITS, by_hash, by_name
from pebench.errors import UserError, join_and, join_or


class TextSource(DataSource):
    """What a user writes as ``data``. Text alone is ``python-docs`` or a path; otherwise one of these.

    - ``{path: P}``: a file (plain, .gz, .xz or .bz2), divided 90/5/5 at line ends; or a folder of files,
      divided by their names where these tell splits apart (``train/emma.txt``, ``wiki.valid.tokens``; files
      that name no split are left out), else 90/5/5 by the order of the hashes of their paths. A file is a
      document.
    - ``{train: P, validation: P, test: P}``: a file or folder for each split that there is.
    - ``{dataset: NAME}``: a set that the `datasets` library knows. Here `train`, `validation` and `test` are
      its splits, slices included, by default those of the same name.

    Attributes:
        name: a corpus that needs no files.
        path: a file or folder that holds all splits.
        train, validation, test: the text of each split.
        dataset: name on the hub, a folder, or a kind of file (``json``, ``text``, ``parquet``) with `files`.
        configuration: of the data set, for example ``wikitext-103-raw-v1``.
        revision: commit, tag or branch of the data set.
        files: a file, or several, by the name of a split.
        column: the column of the data set that holds the text.
        rows: whether each row of the data set is a document, or a line of one document, as in WikiText.
        streaming: whether rows are read as they come instead of being prepared on disk first.
    """

    built_in = "python-docs"

    name: Literal["python-docs"] | None = None
    files: dict[str, str | list[str]] | None = None
    column: str = "text"
    rows: Literal["documents", "lines"] = "documents"
    streaming: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> TextSource:
        parts = any((self.train, self.validation, self.test))
        ways = [bool(self.name), bool(self.path), bool(self.dataset) or parts]
        if sum(ways) != 1:
            raise ValueError(
                "name one source of text: 'python-docs', a path, a 'dataset', or paths for 'train', "
                "'validation' and 'test'"
            )
        only_for_dataset = {"configuration", "revision", "files", "column", "rows", "streaming"}
        stray = sorted(only_for_dataset & self.model_fields_set)
        if stray and not self.dataset:
            raise ValueError(f"{join_and(stray)} can only stand beside a 'dataset'")
        return self


class Part(Protocol):
    """The text of one split."""

    def fingerprint(self) -> str:
        """Equal for equal texts."""
        ...

    def documents(self) -> Iterator[Iterator[str]]:
        """Each document as consecutive chunks of its text."""
        ...


@dataclass(frozen=True)
class Corpus:
    """Documents in splits.

    Attributes:
        name: how messages call it.
        parts: the text of each split that there is.
    """

    name: str
    parts: Mapping[str, Part]

    def documents(self, split: str) -> Iterator[str]:
        """The documents of a split in file order, each in memory as a whole. Empty ones are passed over.

        Raises:
            UserError: there is no such split, it is empty or it cannot be read.
        """
        return ("".join(pieces) for pieces in self.pieces(split))

    def pieces(self, split: str) -> Iterator[Iterator[str]]:
        """Like `documents`, but each document in pieces that can be tokenized one by one.

        See `pebench.data.pieces.cut`.
        """
        part = self._part(split)
        empty = True
        for document in part.documents():
            pieces = cut(document)
            first = next(pieces, None)
            if first is not None:
                empty = False
                yield _preceded(first, pieces)
        if empty:
            raise UserError(f"split '{split}' of {self.name} is empty.")

    def fingerprint(self, split: str) -> str:
        """Stands for the text of a split.

        Raises:
            UserError: there is no such split or it cannot be read.
        """
        return self._part(split).fingerprint()

    def check_unchanged(self, split: str, fingerprint: str) -> None:
        """Makes sure that what was read is what its fingerprint was taken of.

        Raises:
            UserError: the fingerprint is another one by now.
        """
        if self.fingerprint(split) != fingerprint:
            raise UserError(f"split '{split}' of {self.name} changed while it was read: start again.")

    def _part(self, split: str) -> Part:
        if split not in self.parts:
            raise UserError(f"{self.name} has no split '{split}': there is {join_and(self.parts)}.")
        return self.parts[split]


def load_corpus(source: TextSource) -> Corpus:
    """The documents of a source. Finds files, but reads none before it is asked for text or a fingerprint.

    Raises:
        UserError: there is no such file or folder, or it cannot be divided into splits.
    """
    if source.name:
        return Corpus("'python-docs'", {split: PythonDocs(split) for split in SPLITS})
    if source.dataset:
        return Corpus(f"dataset '{source.dataset}'", {split: _rows(source, split) for split in SPLITS})
    if source.path:
        return Corpus(f"'{source.path}'", _divided(source.path))
    parts = {split: TextFiles(files_of(_existing(path))) for split, path in source.splits.items()}
    return Corpus(join_and(dict.fromkeys(source.splits.values())), parts)


def count_words(text: str) -> int:
    """Words as WikiText counts them: what white space separates, and an end of line for each line."""
    unfinished_line = bool(text) and not text.endswith("\n")
    return len(text.split()) + text.count("\n") + unfinished_line


def _rows(source: TextSource, split: str) -> DatasetRows:
    assert source.dataset is not None
    files = tuple((name, _as_tuple(paths)) for name, paths in (source.files or {}).items())
    return DatasetRows(
        dataset=source.dataset,
        configuration=source.configuration,
        revision=source.revision,
        files=files,
        split=source.splits.get(split, split),
        column=source.column,
        lines=source.rows == "lines",
        streaming=source.streaming,
    )


def _as_tuple(paths: str | list[str]) -> tuple[str, ...]:
    return (paths,) if isinstance(paths, str) else tuple(paths)


def _divided(written: str) -> Mapping[str, Part]:
    path = _existing(written)
    files = files_of(path)
    if len(files) == 1:
        return {split: FileShare(files[0], start, stop) for split, (start, stop) in SHARES.items()}
    names = {file.relative_to(path).as_posix(): file for file in files}
    splits = by_name(names)
    if splits is None and len(names) < len(SPLITS):
        raise UserError(
            f"'{written}' holds {len(names)} files, which do not make three splits: name one each for "
            "'train', 'validation' and 'test'."
        )
    splits = splits or by_hash(list(names))
    return {
        split: TextFiles(tuple(names[name] for name in splits[split])) for split in SPLITS if split in splits
    }


def _existing(written: str) -> Path:
    path = Path(written).expanduser()
    if path.exists():
        return path
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    known = ["python-docs", *(str(file) for file in beside)]
    near = difflib.get_close_matches(written, known)
    hint = f": did you mean {join_or(near)}?" if near else "."
    raise UserError(f"no text file or folder at '{written}'{hint}")


def _preceded(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others
