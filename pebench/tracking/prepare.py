"""Run folders made ready to be mirrored: read, and drawn, in processes of their own where there are many."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from pebench.errors import UserError
from pebench.machine.cores import cores
from pebench.machine.die_with_parent import die_with_parent
from pebench.store.run_folder import RunFolder
from pebench.tracking import plot
from pebench.tracking.record import RESULT, Record, read_record

_WORTH_A_PROCESS = 20
"""Runs that take longer to draw than a process takes to start."""

_AHEAD = 24
"""Runs that are ready or being made so while earlier ones are mirrored: it bounds the memory."""


@dataclass(frozen=True)
class Changed:
    """A run that the store does not know as it is now.

    Attributes:
        folder: of the run.
        sweeps: that it is a part of, sorted by name.
        signature: of the folder, see `pebench.tracking.sync_state.signature`.
    """

    folder: RunFolder
    sweeps: Sequence[str]
    signature: str


@dataclass(frozen=True)
class Prepared:
    """A run ready to be mirrored.

    Attributes:
        changed: the run.
        record: what its folder says, read after the signature was taken.
        picture: of a finished run, as SVG; None of another.
    """

    changed: Changed
    record: Record
    picture: bytes | None


def prepare(changed: Changed) -> Prepared:
    """Reads a run folder and draws its picture.

    Raises:
        UserError: a file of the folder cannot be read.
    """
    points = list(changed.folder.points())
    record = read_record(changed.folder, points, changed.sweeps)
    picture = plot.draw(changed.folder, points, record.name) if record.tags[RESULT] else None
    return Prepared(changed, record, picture)


def prepare_all(changed: Sequence[Changed]) -> Iterator[Prepared | UserError | OSError]:
    """Prepares runs in their order, while the caller is busy with those before them.

    Yields:
        Each run, or why it cannot be read.
    """
    count = min(4, cores(), len(changed) // _WORTH_A_PROCESS)
    if count < 2:
        for each in changed:
            yield _attempt(each)
        return
    with ProcessPoolExecutor(
        max_workers=count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_process,
        initargs=(os.getpid(),),
    ) as processes:
        coming: deque[Future[Prepared | UserError | OSError]] = deque()
        waiting = iter(changed)
        try:
            while True:
                while len(coming) < _AHEAD and (later := next(waiting, None)) is not None:
                    coming.append(processes.submit(_attempt, later))
                if not coming:
                    return
                yield coming.popleft().result()
        finally:
            processes.shutdown(cancel_futures=True)


def _attempt(changed: Changed) -> Prepared | UserError | OSError:
    try:
        return prepare(changed)
    except (UserError, OSError) as error:
        return error


def _begin_process(parent: int) -> None:
    """A killed pass leaves no process behind; an interruption is for the pass to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
