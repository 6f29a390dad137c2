"""A run for each sweep itself, which holds its report and its table; the cells are runs beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from pebench.specification.run_spec import Frozen, RunSpec
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import Tuning
from pebench.tracking.mlflow_internals import Active
from pebench.tracking.sync_state import SyncedRun

CONTENTS = "sweep.json"

_NAMED = 30
"""Cells without a result that a description names; MLflow takes no more than 8,000 characters."""

_LAST = "cells without a result in the description"
"""What was last added, so that what was mirrored without it is mirrored anew."""


class SweepContents(Frozen):
    """What only the sweep as a whole knows, in a file of its run.

    Attributes:
        record: of the sweep, with the cells that were chosen.
        tunings: its choices.
        unfinished: cells without a result, of which nobody may have begun.
    """

    record: SweepRecord
    tunings: tuple[Tuning, ...] = ()
    unfinished: dict[str, RunSpec] = Field(default_factory=dict)


@dataclass(frozen=True)
class SweepResults:
    """What is mirrored of a sweep.

    Attributes:
        sweep: its name.
        cells: how many it has. finished: how many of them are.
        unfinished: seeds without a result, by what the cells are.
        elsewhere: cells that stand in the experiment of another sweep, by its name.
        chosen: a sentence for each encoding whose settings were chosen.
        files: texts by their file names.
        signature: see `signature`.
    """

    sweep: str
    cells: int
    finished: int
    unfinished: Mapping[str, Sequence[int]]
    elsewhere: Mapping[str, int]
    chosen: Sequence[str]
    files: Mapping[str, str]
    signature: str

    @property
    def note(self) -> str:
        """The description of the run."""
        text = f"{self.finished} of {self.cells} cells are finished."
        if self.unfinished:
            shown = [f"{name} (seed {', '.join(map(str, own))})" for name, own in self.unfinished.items()]
            more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
            text += f" Without a result: {', '.join(shown[:_NAMED])}{more}."
        trials = trials_of(self.sweep)
        if trials in self.elsewhere:
            text += f" The {self.elsewhere[trials]} trials that chose its settings stand in '{trials}'."
        others = sorted((name, count) for name, count in self.elsewhere.items() if name != trials)
        if others:
            places = ", ".join(f"{count} in '{name}'" for name, count in others)
            text += f" Of cells that other sweeps have too stand {places}."
        return text + "".join(f"\n- {why}" for why in self.chosen)


def trials_of(sweep: str) -> str:
    """The name of the experiment of a sweep's trials."""
    return f"{sweep}-trials"


def signature(runs: Path, record: SweepRecord) -> str | None:
    """Changes when a cell finishes or the sweep is submitted anew; None while no cell is finished."""
    parts = [CONTENTS, _LAST, record.model_dump_json()]
    for run_id in record.runs:
        try:
            stat = (runs / run_id / "result.json").stat()
        except OSError:
            continue
        parts.append(f"{run_id} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if len(parts) > 3 else None


def changed(
    runs: Path, records: Iterable[SweepRecord], known: Mapping[str, SyncedRun], active: Active
) -> dict[str, tuple[SweepRecord, str]]:
    """The sweeps whose results were not mirrored as they are now, with their signatures, by name."""
    found = {}
    for record in records:
        now, seen = signature(runs, record), known.get(record.name)
        current = seen is not None and seen.signature == now and seen.tracked in active.runs
        if now is not None and not current:
            found[record.name] = (record, now)
    return found


def read(runs: Path, record: SweepRecord, sweeps: Mapping[str, list[str]], now: str) -> SweepResults:
    """Computes the results of a sweep.

    Args:
        runs: the folder of runs.
        record: of the sweep.
        sweeps: the names of all sweeps that a run is a part of, sorted, by its id.
        now: the sweep's signature.

    Raises:
        UserError: its runs cannot be put into tables.
    """
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.files import csv_text, frames
    from pebench.leaderboard.report import report
    from pebench.leaderboard.sources import collect_sweep
    from pebench.leaderboard.tuning import tunings

    collection = collect_sweep(runs, record)
    board = make_board(collection)
    elsewhere: dict[str, int] = {}
    for run_id in record.runs:
        first = sweeps[run_id][0]
        if first != record.name:
            elsewhere[first] = elsewhere.get(first, 0) + 1
    choices = tuple(tunings(runs, record)[0])
    unfinished = {run.run_id: run.spec for run in collection.runs if run.result is None}
    contents = SweepContents(record=record, tunings=choices, unfinished=unfinished)
    seeds: dict[str, list[int]] = {}
    for spec in unfinished.values():
        seeds.setdefault(f"{spec.encoding.label} · {spec.task.name}", []).append(spec.seed)
    whole = [run for run in record.runs if run not in collection.unreadable]
    finished = sum((runs / run / "result.json").exists() for run in whole)
    files = {
        "report.html": report(board),
        "leaderboard.csv": csv_text(frames(board)["leaderboard.csv"]),
        CONTENTS: contents.model_dump_json(),
    }
    chosen = [tuning.chosen.why for tuning in choices if tuning.chosen is not None]
    return SweepResults(record.name, len(record.runs), finished, seeds, elsewhere, chosen, files, now)
