"""Layout of an archive of run folders.

manifest.json             SHA-256 and size of every other file, first in the archive
sweeps/<name>.json        which runs a sweep is made of
choices/<key>/<file>      settings that a sweep tuned, see `pebench.store.tuned_choices`
runs/<id>/<file>          what `pebench.store` keeps of a run, without what only its own machine needs
runs/<id>/plugins/<file>
runs/<id>/weights/<file>  those kept during training
"""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from pebench.errors import UserError
from pebench.specification.run_spec import Frozen

if TYPE_CHECKING:
    from io import BufferedIOBase

FORMAT = 1

WEIGHTS = ("model.safetensors",)
FINISHED = (
    *("provenance.json", "changes.diff", "metrics.jsonl", "system.jsonl", "curve.jsonl", "log.txt"),
    *("classes.json", "tokenizer.json", "examples.npz", "result.json"),
)
"""Files of a finished run beside its specification, the result last; not every run has each of them."""

MANIFEST = "manifest.json"

_FILE = "|".join(re.escape(name) for name in ("spec.json", "failure.json", *FINISHED, *WEIGHTS))
_MEMBER = re.compile(
    rf"runs/(?P<run>[a-z0-9][a-z0-9_-]{{0,200}})/(?P<file>{_FILE}|plugins/[A-Za-z0-9_][A-Za-z0-9_.-]{{0,200}}"
    r"|weights/step-[0-9]{8}\.safetensors)"
    r"|choices/[a-z0-9][a-z0-9_-]{0,200}/(candidates|chosen)\.json"
    r"|sweeps/(?P<sweep>[a-z0-9]+(-[a-z0-9]+)*)\.json"
)


class Content(Frozen):
    """Digest and size of a file."""

    sha256: str
    size: int


class Manifest(Frozen):
    """List of the files of an archive.

    Attributes:
        format: see `FORMAT`.
        pebench: the version that wrote it.
        files: by name in the archive.
    """

    format: int
    pebench: str
    files: dict[str, Content]


def is_member(name: str) -> bool:
    """Whether a file of this name may stand in an archive."""
    return _MEMBER.fullmatch(name) is not None


def run_of(name: str) -> str | None:
    """The id of the run that a file of the archive belongs to, None for the others."""
    match = _MEMBER.fullmatch(name)
    return match["run"] if match else None


def compression(path: Path) -> str:
    """``zst``, ``xz`` or ``gz``, by the name of the archive.

    Raises:
        UserError: it has another ending.
    """
    for ending, kind in ((".tar.zst", "zst"), (".tar.xz", "xz"), (".tar.gz", "gz")):
        if path.name.endswith(ending):
            return kind
    raise UserError(f"'{path}' is not the name of an archive: end it in .tar.zst, .tar.xz or .tar.gz.")


_MOST_MEMORY = 2**27
"""Bytes for decompression, which is memory that a stranger asks for; `pebench export` asks for less."""


@contextmanager
def compressed(file: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    """Writes compressed into a file, the same bytes at any time of day."""
    if kind == "gz":
        with gzip.GzipFile("", "wb", 6, cast("BufferedIOBase", file), mtime=0) as stream:
            yield cast("IO[bytes]", stream)
        return
    if kind == "xz":
        with lzma.LZMAFile(file, "wb", preset=6) as stream:
            yield cast("IO[bytes]", stream)
        return
    with _zstandard().ZstdCompressor(level=9).stream_writer(file, closefd=False) as writer:
        yield cast("IO[bytes]", writer)


@contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """Reads an archive, whatever its name, by its first bytes.

    Raises:
        UserError: it is no kind of archive that is known here.
    """
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast("IO[bytes]", stream)
        elif start == b"\xfd7zXZ\x00":
            yield cast("IO[bytes]", _Xz(file))
        elif start[:4] == b"\x28\xb5\x2f\xfd":
            reader: Any = _zstandard().ZstdDecompressor(max_window_size=_MOST_MEMORY)
            with reader.stream_reader(file, read_across_frames=True, closefd=False) as stream:
                yield stream
        else:
            raise UserError(f"'{path}' is no archive of runs: it is none of .tar.zst, .tar.xz and .tar.gz.")


class _Xz:
    """Reads ``.xz`` within `_MOST_MEMORY`, which `lzma.LZMAFile` cannot be told."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end.

        Raises:
            EOFError: the file ends before its content does.
        """
        while not self._decompressor.eof:
            packed = self._file.read(2**16) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not packed:
                raise EOFError("the archive is cut short")
            if data := self._decompressor.decompress(packed, size):
                return data
        return b""


def _zstandard() -> Any:
    """The package that reads and writes ``.tar.zst``.

    Raises:
        UserError: it is not installed.
    """
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise UserError(
            "archives in .tar.zst need the Python package 'zstandard', which is not installed here: "
            "install it, or use .tar.xz."
        ) from error
    return zstandard
