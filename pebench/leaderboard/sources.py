"""Where the runs of a sweep are read from: the run folders, or a tracking store that others fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.run_data import from_folders
from pebench.leaderboard.tuning import reported, tunings
from pebench.store import SweepRecord
from pebench.sweeping.recorded import recorded_sweeps


def from_runs(runs: Path, wanted: Sequence[str]) -> Iterator[Collection]:
    """The sweeps of these names or files, all if none is wanted, from the folder of runs.

    Raises:
        UserError: there is no such sweep, or a run cannot be read.
    """
    for record in recorded_sweeps(runs, wanted):
        yield collect_sweep(runs, record)


def collect_sweep(runs: Path, record: SweepRecord) -> Collection:
    """A sweep from the folder of runs.

    Raises:
        UserError: a run cannot be read.
    """
    found, told, damaged = tunings(runs, record)
    shown = reported(record)
    data, warnings, unreadable = from_folders(runs, shown)
    return collect(shown, data, [*told, *warnings], [*damaged, *unreadable], found)


def from_store(uri: str, wanted: Sequence[str]) -> Iterator[Collection]:
    """The sweeps of these names or files, all if none is wanted, from a tracking store.

    Raises:
        UserError: the store does not answer, has no such sweep, or lacks a file of a run.
    """
    from pebench.leaderboard.tracked import read_store

    for found in read_store(uri, wanted):
        yield collect(found.record, found.runs, found.warnings, tunings=found.tunings)
