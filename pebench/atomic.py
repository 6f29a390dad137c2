"""The one way a file is written: all of it or none, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# It can only be read by setting it, which is safe while nothing else runs in this process.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, which takes its place when the block ends without an
    exception.

    The name is unique, so that writers do not meet and a leftover of a killed one stops nobody. Readers see
    the old file or the new one, never a part. After a crash of the machine the new one is there in full or
    not at all. An OSError names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        # Some libraries make files that nobody else may read.
        temporary.chmod(0o666 & ~_UMASK)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            # A full disk is told without a name, and nobody knows that of the temporary file.
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file, line endings as they are in `text`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a binary file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON with sorted keys; numbers that JSON lacks (NaN) are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder outlast a crash of the machine, where the file system knows how."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
