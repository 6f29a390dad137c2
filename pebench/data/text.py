"""Where text comes from, and how it is divided into documents and splits."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pydantic import model_validator

from pebench.data.dataset import DatasetRows
from pebench.data.files import FileShare, TextFiles, filled_in, path_to, place_of, told, walk
from pebench.data.left_out import sentence
from pebench.data.pieces import cut
from pebench.data.python_docs import PythonDocs
from pebench.data.source import DataSource
from pebench.data.splits import SHARES, SPLITS, by_hash, by_name
from pebench.data.tables import is_table, refuse_saved, refuse_table, refuse_tokenizer
from pebench.errors import UserError, join_and, join_or, there_is


class TextSource(DataSource):
    """Value of the option ``data``. Text alone is ``python-docs`` or a path; otherwise one of these.

    - ``{path: P}``: a file (plain, .gz, .xz or .bz2), divided 90/5/5 at line ends; or a folder of files,
      divided by their names where these tell splits apart (``train/emma.txt``, ``wiki.valid.tokens``; files
      that name no split are left out, and counted), else 90/5/5 by the order of the hashes of their paths.
      Links are followed. A file is a document. Tables (JSON, CSV, Parquet) are no plain text.
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
        left_out: the sentence of what is none of it; see `pebench.data.left_out`.
    """

    name: str
    parts: Mapping[str, Part]
    left_out: str = ""

    def pieces(self, split: str) -> Iterator[Iterator[str]]:
        """The documents of a split in file order, each in pieces that can be tokenized one by one; see
        `pebench.data.pieces.cut`. Empty ones are passed over.

        Raises:
            UserError: there is no such split, it is empty or it cannot be read.
        """
        part = self._part(split)
        empty = True
        for document in part.documents():
            pieces = cut(document)
            first = next(pieces, None)
            if first is not None:
                empty = False
                yield itertools.chain([first], pieces)
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

    def check(self, splits: Iterable[str]) -> None:
        """Looks for splits, and at the beginning of what is on this machine, as the column of a table.

        Raises:
            UserError: one is not there, or cannot be read.
        """
        for part in map(self._part, splits):
            if isinstance(part, DatasetRows):
                part.check()

    def _part(self, split: str) -> Part:
        if split not in self.parts:
            raise UserError(f"{self.name} has no split '{split}': {there_is(self.parts)}.")
        return self.parts[split]


def check_text(source: TextSource, splits: tuple[str, ...]) -> None:
    """Finds the files of a source, and sees that its splits can be read.

    Raises:
        UserError: there are none, or they cannot.
    """
    load_corpus(source).check(splits)


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
        return _divided(source.path)
    name = join_and(dict.fromkeys(source.splits.values()))
    found = {split: _text_of(path) for split, path in source.splits.items()}
    left_out = [file for files in dict.fromkeys(found.values()) for file in files.left_out]
    total = len(left_out) + sum(len(files.names) for files in set(found.values()))
    return Corpus(
        name,
        {split: TextFiles(files.paths) for split, files in found.items()},
        sentence(left_out, total, name),
    )


def _rows(source: TextSource, split: str) -> DatasetRows:
    assert source.dataset is not None
    files = tuple(
        (name, tuple(map(place_of, _as_tuple(paths)))) for name, paths in (source.files or {}).items()
    )
    return DatasetRows(
        dataset=place_of(source.dataset),
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


class _Text(NamedTuple):
    """The plain text at a path.

    Attributes:
        root: the path. names: of the files below it, empty where it is a file.
        left_out: names of what is no plain text.
    """

    root: Path
    names: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the files."""
        return tuple(self.root / name for name in self.names) or (self.root,)


def _divided(written: str) -> Corpus:
    owner, text = f"'{written}'", _text_of(written)
    total = len(text.names) + len(text.left_out)
    if len(text.paths) == 1:
        (path,) = text.paths
        shares = {split: FileShare(path, start, stop) for split, (start, stop) in SHARES.items()}
        return Corpus(owner, shares, sentence(text.left_out, total, owner))
    named = by_name(text.names)
    if named is None and len(text.names) < len(SPLITS):
        raise UserError(
            f"{owner} holds {len(text.names)} files, which do not make three splits: name one each for "
            "'train', 'validation' and 'test'."
        )
    if named is not None and named.mostly_others:
        said = sentence(named.others, total, owner)
        raise UserError(
            f"{said}, because names such as '{next(iter(named.splits.values()))[0]}' tell splits apart: name "
            "the files of 'train' and 'validation', or rename those."
        )
    splits, others = named or (by_hash(text.names), [])
    return Corpus(
        owner,
        {
            split: TextFiles(tuple(text.root / name for name in splits[split]))
            for split in SPLITS
            if split in splits
        },
        sentence([*others, *text.left_out], total, owner),
    )


def _text_of(written: str) -> _Text:
    """
    Raises:
        UserError: nothing is there, or no plain text.
    """
    root = _existing(written)
    if not root.is_dir():
        refuse_table(root)
        return _Text(root, (), ())
    found = walk(root)
    refuse_saved(root, found.files)
    refuse_tokenizer(root, found.files)
    tables = [name for name in found.files if is_table(name)]
    names = sorted(set(found.files) - set(tables), key=lambda name: Path(name).parts)
    if tables and not names:
        refuse_table(root / tables[0])
    if not names:
        raise UserError(f"the folder '{root}' holds no file.")
    return _Text(root, tuple(names), (*tables, *found.strange))


def _existing(written: str) -> Path:
    path = path_to(written)
    if path is not None:
        return path
    try:
        beside = sorted(filled_in(written).parent.iterdir())
    except (OSError, ValueError):
        beside = []
    near = difflib.get_close_matches(
        str(filled_in(written)), ["python-docs", *(str(file) for file in beside)]
    )
    hint = f": did you mean {join_or(near)}?" if near else "."
    raise UserError(f"no text file or folder at {told(written)}{hint}")
