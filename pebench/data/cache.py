"""Cache of data that are costly to make: one folder, each entry built once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from pebench import atomic
from pebench.errors import UserError


class Entry(NamedTuple):
    """A folder of the cache that is complete.

    Attributes:
        folder: where its files are.
        metadata: what its builder said of them.
    """

    folder: Path
    metadata: dict[str, Any]


def cache_folder() -> Path:
    """The folder that the variable ``PEBENCH_CACHE`` names, by default one in the user's cache folder."""
    chosen = os.environ.get("PEBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("pebench")


def entry(kind: str, key: str, build: Callable[[Path], dict[str, Any]]) -> Entry:
    """Entry of the cache under a key, built now if it is not there.

    Of several processes that ask at once one builds and the others wait. A builder that dies leaves an entry
    without metadata, which the next one builds anew.

    Args:
        kind: what is kept, the name of a folder in the cache.
        key: must change with everything that changes the content.
        build: writes files through `pebench.atomic` into the folder it is given and returns the metadata.

    Raises:
        UserError: the cache cannot be written.
    """
    folder = cache_folder() / kind / key
    metadata = _metadata(folder)
    if metadata is not None:
        return Entry(folder, metadata)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            metadata = _metadata(folder)
            if metadata is None:
                _remove_leftovers(folder)
                metadata = build(folder)
                atomic.write_json(folder / "metadata.json", metadata)
    except OSError as error:
        raise unwritable(folder, error) from error
    return Entry(folder, metadata)


def digest(value: Any) -> str:
    """32 hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def unwritable(place: Path, error: OSError) -> UserError:
    """The error for a place in the cache that cannot be written."""
    reason = error.strerror or str(error)
    return UserError(
        f"the cache cannot write {place} ({reason}): set PEBENCH_CACHE to a folder that can be written."
    )


def _metadata(folder: Path) -> dict[str, Any] | None:
    try:
        metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return metadata


def _remove_leftovers(folder: Path) -> None:
    # Whoever holds the lock is the only writer, so temporary files belong to builders that were killed.
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink()
