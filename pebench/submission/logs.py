"""The logs of runs: read from their ends, and followed as they grow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pebench.store.run_folder import RunFolder
from pebench.submission import submissions

_LOOK_EVERY = 0.5


class Line(NamedTuple):
    """A line of a log, and the run that it is of."""

    run: str
    text: str


def logs_of(runs: Path, run_ids: list[str], of_job: bool = False) -> dict[Path, str]:
    """The files that tell of these runs, and the run each is of.

    Args:
        runs: the folder of the runs.
        run_ids: of the runs.
        of_job: what their jobs printed, in place of the runs' own logs.
    """
    if not of_job:
        return {RunFolder(runs / run_id).log: run_id for run_id in run_ids}
    jobs = submissions.jobs(runs, run_ids)
    return {
        path: run_id
        for run_id in run_ids
        if run_id in jobs
        for path in submissions.printed(runs, jobs[run_id].submission, jobs[run_id].number)
    }


def tail(files: Mapping[Path, str], count: int) -> Iterator[Line]:
    """The last lines of each file that is there."""
    for path, run_id in files.items():
        with (
            suppress(FileNotFoundError, IsADirectoryError),
            path.open(encoding="utf-8", errors="replace") as log,
        ):
            for text in deque(log, count):
                yield Line(run_id, text.rstrip("\n"))


def follow(files: Mapping[Path, str], count: int) -> Iterator[Line]:
    """The last lines of each file, and every line that is added, for as long as the caller likes."""
    places = dict.fromkeys(files, 0)
    for path in files:
        with suppress(FileNotFoundError):
            places[path] = path.stat().st_size
    yield from tail(files, count)
    while True:
        for path, run_id in files.items():
            with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as log:
                log.seek(places[path])
                for raw in log:
                    if not raw.endswith(b"\n"):
                        break
                    places[path] += len(raw)
                    yield Line(run_id, raw.decode("utf-8", "replace").rstrip("\n"))
        time.sleep(_LOOK_EVERY)
