"""Text files: found in folders, read without byte order marks and carriage returns, known by content."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import logging
import lzma
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from pebench import atomic
from pebench.data.cache import cache_folder, digest, unwritable
from pebench.data.splits import SHARES
from pebench.errors import UserError, quoted

_CHUNK = 1 << 20
_ARCHIVES = (".zip", ".tar", ".tgz", ".txz", ".tbz2", ".7z", ".tar.gz", ".tar.xz", ".tar.bz2")
_RACY = 2.0
_NEAR = 1 << 16
_SHORT = 100
_TOLD = 100_000
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class Content(NamedTuple):
    """Contents of a file.

    Attributes:
        sha256: of the content, hexadecimal.
        length: of the content, in characters for text and bytes otherwise.
        lines: whether a line of text ends between the two cuts of a divided file that are nearest to each
            other.
    """

    sha256: str
    length: int
    lines: bool


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
    text too. Where lines are so long that nothing would be left between two cuts, they are moved behind the
    next space instead, and stay where they are without one.
    """

    path: Path
    start: int
    stop: int

    def fingerprint(self) -> str:
        """Equal for equal parts of equal texts."""
        marks = [] if self._has_lines() else ["spaces"]
        return digest([text_contents([self.path])[0].sha256, self.start, self.stop, *marks])

    def documents(self) -> Iterator[Iterator[str]]:
        """One document, in chunks of about a million characters."""
        yield self._text()

    def _text(self) -> Iterator[str]:
        length = text_contents([self.path])[0].length
        start, stop = length * self.start // 100, length * self.stop // 100
        if not self._has_lines():
            start, stop = (_behind_space(self.path, place, length) for place in (start, stop))
            with _opened(self.path) as file:
                for _ in _characters(file, start):
                    pass
                yield from _characters(file, stop - start)
            return
        with _opened(self.path) as file:
            position = 0
            if self.start:
                position = sum(len(chunk) for chunk in _characters(file, start)) + len(file.readline())
            # A line that began before this share may go on beyond its end, and then nothing is left.
            if position <= stop:
                yield from _characters(file, stop - position)
                yield file.readline()

    def _has_lines(self) -> bool:
        return text_contents([self.path])[0].lines


def _behind_space(path: Path, place: int, length: int) -> int:
    """The place behind the first space from a place on, or the place itself where none is near."""
    if place in (0, length):
        return place
    with _opened(path) as file:
        for _ in _characters(file, place):
            pass
        near = file.read(min(_NEAR, length // 25))
    space = re.search(r"\s", near)
    return place + space.end() if space else place


class Walk(NamedTuple):
    """Contents of a folder.

    Attributes:
        files: paths below it, with slashes; those of a folder before those of the folders in it, in order.
        strange: what is neither a file nor a folder, and folders that cannot be read or lead back to
            themselves by a link.
    """

    files: list[str]
    strange: list[str]


def walk(root: Path) -> Walk:
    """All files of a folder and of the folders in it, those behind links included. What is hidden is passed
    over.

    Raises:
        UserError: the folder is that of the whole machine.
    """
    if root.resolve() == Path(root.resolve().anchor):
        raise UserError(f"'{root}' is the whole machine: name the folder that holds the data.")
    found = Walk([], [])
    waiting: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [(root, "", frozenset())]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
            folders = {entry.name for entry in entries if entry.is_dir()}
        except OSError:
            found.strange.append(prefix.rstrip("/") or ".")
            continue
        own = status.st_dev, status.st_ino
        if own in above:
            found.strange.append(prefix.rstrip("/"))
            continue
        inside = []
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.name in folders:
                inside.append((Path(entry), f"{name}/", above | {own}))
            elif entry.is_file() or entry.is_symlink():
                found.files.append(name)
                if len(found.files) % _TOLD == 0:
                    log = logging.getLogger("pebench.data")
                    log.warning("%d files of '%s' found, and still looking.", len(found.files), root)
            else:
                found.strange.append(name)
        waiting += reversed(inside)
    return found


def filled_in(written: str) -> Path:
    """The path that was written, with ``~`` and environment variables (``$DATA``) filled in if known."""
    return Path(_filled(written))


def place_of(written: str) -> str:
    """As `filled_in`, for a library that takes addresses and names as well.

    Raises:
        UserError: as `path_to`.
    """
    path_to(written)  # refuses what cannot be filled in
    return _filled(written)


def _filled(written: str) -> str:
    # An empty variable would lead to the working folder, or to the root of the machine.
    path = _VARIABLE.sub(lambda named: _value(named) or named[0], written)
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except (RuntimeError, ValueError):  # nobody's home
        return path


def _value(named: re.Match[str]) -> str | None:
    return os.environ.get(named[1].strip("{}"))


def existing(written: str) -> Path | None:
    """The path that was written, filled in; None where nothing is there, or can be."""
    try:
        path = filled_in(written)
        return path if path.exists() else None
    except (OSError, ValueError):
        # Longer than a name can be, or with a character that none can hold.
        return None


def path_to(written: str) -> Path | None:
    """As `existing`, for what can only be a path.

    Raises:
        UserError: nothing is there, and it names an environment variable that is not set, or is empty.
    """
    path = existing(written)
    for named in _VARIABLE.finditer(written) if path is None else ():
        if not (value := _value(named)):
            lack = "not set" if value is None else "empty"
            which = "" if named[0] == written else f", {named[0]}"
            raise UserError(f"{quoted(written)} names an environment variable that is {lack}{which}.")
    return path


def told(written: str) -> str:
    """How a sentence names the path that was written: where it leads stands behind it."""
    return (
        quoted(written)
        if (filled := _filled(written)) == written
        else f"{quoted(written)} ({quoted(filled)})"
    )


def files_of(path: Path) -> tuple[Path, ...]:
    """The file at a path, or all files of the folder there, as `walk` finds them, sorted by path.

    Raises:
        UserError: the folder holds no file.
    """
    if not path.is_dir():
        return (path,)
    found = [path / name for name in walk(path).files]
    if not found:
        raise UserError(f"the folder '{path}' holds no file.")
    return tuple(sorted(found, key=lambda file: file.relative_to(path).parts))


def text_contents(paths: Sequence[Path]) -> list[Content]:
    """Contents of text files, without byte order marks and with plain line ends; kept until a file changes.

    Raises:
        UserError: a file cannot be read or is not UTF-8.
    """
    return _remembered("text", paths, _text_content)


def raw_contents(paths: Sequence[Path]) -> list[Content]:
    """Contents of files, byte by byte; kept until a file changes.

    Raises:
        UserError: a file cannot be read.
    """
    return _remembered("raw", paths, _raw_content)


def _text_content(path: Path) -> Content:
    sha256, length, ended = hashlib.sha256(), 0, []
    for chunk in _chunks(path):
        sha256.update(chunk.encode())
        length += len(chunk)
        ended.append("\n" in chunk)
    start, stop = (length * share // 100 for share in SHARES["validation"])
    short = length < _SHORT
    lines = short or any(ended[-(-start // _CHUNK) : stop // _CHUNK]) or _line_ends(path, start, stop)
    return Content(sha256.hexdigest(), length, lines)


def _line_ends(path: Path, start: int, stop: int) -> bool:
    """Whether the line at one place ends before the other."""
    with _opened(path) as file:
        for _ in _characters(file, start):
            pass
        return start + len(file.readline(stop - start + 1)) <= stop


def _raw_content(path: Path) -> Content:
    with _reading(path), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Content(sha256, file.tell(), True)


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
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        # TypeError: a note from before there was the last field.
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
