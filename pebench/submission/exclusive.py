"""One at a time: who changes what is submitted in a folder of runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pebench.errors import UserError, errors_of_files
from pebench.submission import submissions

_PATIENCE = 60.0


@contextmanager
def exclusive(runs: Path) -> Iterator[None]:
    """Holds the submissions of a folder of runs: two submits at a time would start what both find missing.

    Raises:
        UserError: another process holds them, or the folder cannot be written.
    """
    folder = submissions.submissions_folder(runs)
    with errors_of_files(runs):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "lock", timeout=_PATIENCE):
                yield
        except Timeout as error:
            held = f"another submit has held {folder / 'lock'} for {_PATIENCE:.0f} seconds."
            raise UserError(held) from error
