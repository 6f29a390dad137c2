"""Reads the archive of a stranger into a folder of its own, and nothing anywhere else.

No name of the archive becomes a path unless it is one of those that `pebench.exchange.archive` knows; links,
devices and sparse files are refused; and no more is read than the reader said.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

from pydantic import ValidationError

from pebench.errors import UserError
from pebench.exchange.archive import FORMAT, MANIFEST, Content, Manifest, decompressed, is_member

_CHUNK = 2**20
_HEADERS = 2**20
"""Most bytes that the description of one file may take."""

_MOST = {
    "metrics.jsonl": 2**30,
    "system.jsonl": 2**28,
    "curve.jsonl": 2**28,
    "log.txt": 2**28,
    "result.json": 2**26,
    "tokenizer.json": 2**28,
    "examples.npz": 2**28,
}
_MOST_OTHERS = 2**24
_MOST_MANIFEST = 2**28


class Hostile(UserError):
    """An archive that `pebench export` did not write."""


class _Bounded:
    """A stream that ends with an error where more is read than was allowed.

    Args:
        stream: what is read.
        most: bytes in all.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._left = most
        self.allowed = _HEADERS

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        if size > self.allowed or size > self._left:
            raise Hostile("the archive holds more than it may: --most allows more gigabytes.")
        data = self._stream.read(size)
        self.allowed -= len(data)
        self._left -= len(data)
        return data


def unpack(path: Path, folder: Path, most: int) -> Manifest:
    """Reads every file of an archive into a folder, checked against the archive's own manifest.

    Args:
        path: the archive.
        folder: an empty one.
        most: bytes that all files together may have.

    Raises:
        UserError: it is no archive, it is damaged or incomplete, or it holds what does not belong there.
    """
    try:
        with decompressed(path) as stream:
            bounded = _Bounded(stream, most)
            with tarfile.open(
                fileobj=cast(IO[bytes], bounded), mode="r|", bufsize=tarfile.BLOCKSIZE
            ) as archive:
                return _read(archive, bounded, folder)
    except Hostile as error:
        raise UserError(f"'{path}' is not imported: {error}") from error
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is damaged or incomplete: nothing is imported.") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"'{path}' is damaged or incomplete: nothing is imported.") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise UserError(f"'{path}' is damaged or incomplete: nothing is imported.") from error


def _read(archive: tarfile.TarFile, bounded: _Bounded, folder: Path) -> Manifest:
    first = _next(archive, bounded)
    if first is None or first.name != MANIFEST or first.size > _MOST_MANIFEST:
        raise Hostile("it does not begin with a manifest.")
    bounded.allowed = first.size + _HEADERS
    try:
        manifest = Manifest.model_validate_json(_opened(archive, first).read())
    except ValidationError as error:
        raise Hostile("its manifest cannot be read.") from error
    if manifest.format != FORMAT:
        raise Hostile(f"it has format {manifest.format}, and this pebench reads format {FORMAT}.")
    seen: set[str] = set()
    while (entry := _next(archive, bounded)) is not None:
        content = manifest.files.get(entry.name)
        if content is None or entry.name in seen:
            raise Hostile(f"{_shown(entry.name)} is in it, which its manifest does not say.")
        seen.add(entry.name)
        _write(archive, bounded, entry, content, folder)
    missing = sorted(set(manifest.files) - seen)
    if missing:
        raise Hostile(f"{_shown(missing[0])} is not in it, which its manifest says.")
    return manifest


def _next(archive: tarfile.TarFile, bounded: _Bounded) -> tarfile.TarInfo | None:
    """The next entry, a plain file under a name that may be there."""
    bounded.allowed = _HEADERS
    entry = archive.next()
    # Entries stay on a list otherwise, and a million of empty files would fill the memory.
    archive.members = []  # type: ignore[attr-defined]
    if entry is None:
        return None
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.sparse is not None:
        raise Hostile(f"{_shown(entry.name)} in it is no plain file.")
    if entry.name != MANIFEST and not is_member(entry.name):
        raise Hostile(f"{_shown(entry.name)} in it is no file of a run.")
    return entry


def _write(
    archive: tarfile.TarFile, bounded: _Bounded, entry: tarfile.TarInfo, content: Content, folder: Path
) -> None:
    name = entry.name.rpartition("/")[2]
    weights = name.endswith(".safetensors")
    if entry.size != content.size or (not weights and entry.size > _MOST.get(name, _MOST_OTHERS)):
        raise Hostile(f"{_shown(entry.name)} in it is too large.")
    bounded.allowed = entry.size + _HEADERS
    target = folder / entry.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    source = _opened(archive, entry)
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != content.sha256:
        raise Hostile(f"{_shown(entry.name)} in it is not what its manifest says.")


def _opened(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(entry)
    assert source is not None, "a plain file has content"
    return source


def _shown(name: str) -> str:
    """A stranger's name as it can be printed."""
    text = name if len(name) <= 80 else f"{name[:77]}…"
    return repr(text)
