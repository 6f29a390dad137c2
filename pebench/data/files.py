"""Text files: found in folders, read without byte order marks and carriage returns, known by content."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from pebench import atomic
from pebench.data.cache import cache_folder, digest, unwritable
from pebench.errors import UserError

_CHUNK = 1 << 20
_ARCHIVES = (".zip", ".tar", ".tgz", ".txz", ".tbz2", ".7z", ".tar.gz", ".tar.xz", ".tar.bz2")
_RACY = 2.0


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        sha256: of the content, hexadecimal.
        length: of the content, in characters for text and bytes otherwise.
    """

    sha256: str
    length: int


@dataclass(frozen=True)
class TextFiles:
    """Whole files, each a document."""

    paths: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Equal for equal texts, wherever they lie and however they are compressed."""
        return digest([content.sha256 for content in text_contents(self.paths)])

    def documents(self) -> Iterator[Iterator[str]]:
        """The text of each file, in chunks of about a million characters."""
        for path in self.paths:
            yield _chunks(path)


@dataclass(frozen=True)
class FileShare:
    """A contiguous part of one file, from a percentage of its characters to another.

    Cuts are moved to the end of the line they fall in, so that shares which meet in a percentage meet in the
    text too.
    """

    path: Path
    start: int
    stop: int

    def fingerprint(self) -> str:
        """Equal for equal parts of equal texts."""
        return digest([text_contents([self.path])[0].sha256, self.start, self.stop])

    def documents(self) -> Iterator[Iterator[str]]:
        """One document, in chunks of about a million characters."""
        yield self._text()

    def _text(self) -> Iterator[str]:
        length = text_contents([self.path])[0].length
        start, stop = length * self.start // 100, length * self.stop // 100
        with _opened(self.path) as file:
            position = 0
            if self.start:
                position = sum(len(chunk) for chunk in _characters(file, start)) + len(file.readline())
            # A line that began before this share may go on beyond its end, and then nothing is left.
            if position <= stop:
                yield from _characters(file, stop - position)
                yield file.readline()


def files_of(path: Path) -> tuple[Path, ...]:
    """The file at a path, or all files of the folder there and of the folders in it, sorted by path.

    Hidden files and folders are passed over.

    Raises:
        UserError: the folder holds no file.
    """
    if not path.is_dir():
        return (path,)
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    if not found:
        raise UserError(f"the folder '{path}' holds no file.")
    return tuple(sorted(found, key=lambda file: file.relative_to(path).parts))


def text_contents(paths: Sequence[Path]) -> list[Content]:
    """What text files hold, without byte order marks and with plain line ends; kept until a file changes.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    return _remembered("text", paths, _text_content)


def raw_contents(paths: Sequence[Path]) -> list[Content]:
    """What files hold, byte by byte; kept until a file changes.

    Raises:
        UserError: a file cannot be read.
    """
    return _remembered("raw", paths, _raw_content)


def _text_content(path: Path) -> Content:
    sha256, length = hashlib.sha256(), 0
    for chunk in _chunks(path):
        sha256.update(chunk.encode())
        length += len(chunk)
    return Content(sha256.hexdigest(), length)


def _raw_content(path: Path) -> Content:
    with _reading(path), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Content(sha256, file.tell())


def _remembered(kind: str, paths: Sequence[Path], look: Callable[[Path], Content]) -> list[Content]:
    state, changed = [kind], 0.0
    for path in paths:
        with _reading(path):
            status = path.stat()
        state.append(f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}")
        changed = max(changed, status.st_mtime, status.st_ctime)
    note = cache_folder() / "contents" / f"{digest(state)}.json"
    try:
        return [Content(*content) for content in json.loads(note.read_bytes())]
    except (FileNotFoundError, NotADirectoryError):
        pass
    # A file that changed a moment ago may change again without its time stamp showing it.
    settled = time.time() - changed > _RACY
    contents = [look(path) for path in paths]
    if settled:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_json(note, contents)
        except OSError as error:
            raise unwritable(note, error) from error
    return contents


def _chunks(path: Path) -> Iterator[str]:
    with _opened(path) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _characters(file: IO[str], count: int) -> Iterator[str]:
    """The next `count` characters of a file, or all that are left."""
    while count > 0 and (chunk := file.read(min(count, _CHUNK))):
        count -= len(chunk)
        yield chunk


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if path.name.lower().endswith(_ARCHIVES):
        raise UserError(f"{path} is an archive: unpack it and name the folder.")
    with _reading(path), _text_stream(path) as file:
        yield file


def _text_stream(path: Path) -> IO[str]:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig")
        case ".xz":
            return lzma.open(path, "rt", encoding="utf-8-sig")
        case ".bz2":
            return bz2.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns every way in which reading a file can fail into one sentence."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}).") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path} cannot be decompressed: {error}.") from error
