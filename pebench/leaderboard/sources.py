"""Where the runs of a sweep are read from: the run folders, the results that were made of them, or a tracking
store that others fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.read_results import from_results
from pebench.leaderboard.run_data import from_folders
from pebench.leaderboard.tuning import reported, tunings
from pebench.store.sweep_records import SweepRecord, read_sweeps, remembered_folder
from pebench.sweeping.recorded import name_of, recorded_sweep, recorded_sweeps
from pebench.sweeping.yaml_file import is_named


def from_runs(runs: Path, wanted: Sequence[str]) -> Iterator[Collection]:
    """The sweeps of these names or files, all if none is wanted, from the folder of runs.

    Raises:
        UserError: there is no such sweep, or a run cannot be read.
    """
    for record in recorded_sweeps(runs, wanted):
        yield collect_sweep(runs, record)


def from_runs_or_results(runs: Path, wanted: Sequence[str], results: Path) -> Iterator[Collection]:
    """As `from_runs`; a sweep that was not submitted here is read from its results, where it has any.

    Raises:
        UserError: there is no such sweep, or what it is read from cannot be read.
    """
    found: dict[str, str] = {}
    for text in wanted:
        found.setdefault(name_of(text), text)
    there = results_alone(runs, wanted, results)
    # Whatever cannot be found is told before anything is read.
    records = {name: recorded_sweep(runs, text) for name, text in found.items() if name not in there}
    for name in found:
        yield from_results(results / name) if name in there else collect_sweep(runs, records[name])
    if not wanted:
        yield from from_runs(runs, ())


def folders_of_claims(runs: Path, name: str, named: Sequence[str], results: Path) -> list[Path]:
    """Where a file of claims about a sweep may lie, the first to be looked into first: its folder of results,
    beside its file as it was named, or as it was submitted, and the folder of sweeps.

    Args:
        runs: the folder of runs.
        name: of the sweep.
        named: names and files of sweeps that a user gave.
        results: the folder of results.
    """
    beside = [Path(text).parent for text in named if is_named(text)]
    submitted = remembered_folder(runs, name)
    known = [results / name, *beside, *([submitted] if submitted is not None else []), Path("sweeps")]
    return list({folder.resolve(): folder for folder in reversed(known)}.values())[::-1]


def results_alone(runs: Path, wanted: Sequence[str], results: Path) -> list[str]:
    """The names of those sweeps that were not submitted here and have results."""
    submitted = {record.name for record in read_sweeps(runs)}
    names = dict.fromkeys(name_of(text) for text in wanted)
    return [name for name in names if name not in submitted and (results / name / "scores.csv").exists()]


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
