"""Sweeps whose cells have been looked up: a file's names resolved into the specifications of runs.

What a file says is in `pebench.sweeping.sweep_file`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pebench.data.files import existing
from pebench.data.tables import is_gpt2
from pebench.errors import UserError, join_and, unknown
from pebench.plugins.memo import remembered
from pebench.plugins.registry import load_plugin
from pebench.running.execution import Execution
from pebench.specification.run_spec import Frozen, RunSpec
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import Choice
from pebench.sweeping.cell import Cell
from pebench.sweeping.names import find
from pebench.sweeping.sweep_file import Entry, StartRun, SweepFile, read, with_values
from pebench.sweeping.tune import Tune, stage

MOST_CELLS = 100_000
"""Cells of a sweep."""


class Sweep(Frozen):
    """A sweep whose every cell has been looked up and found possible.

    Attributes:
        name: of the sweep.
        source: the text of its file.
        cells: the specifications of its runs, in the order of the file; where it tunes, of those that are
            known before anything is chosen.
        trials: the ids of those cells that settings are chosen by.
        choices: what is chosen, in the order of the file.
        baseline: the encoding label that others are compared with.
        execution: how to carry the runs out.
        folder: of its file, None where it was not read from one.
        submitted: its record, if the sweep was read back from one; it may name runs whose folders are gone.
    """

    name: str
    source: str
    cells: tuple[RunSpec, ...]
    trials: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    baseline: str | None = None
    execution: Execution = Execution()
    folder: Path | None = None
    submitted: SweepRecord | None = None

    def __repr__(self) -> str:
        """Its name and size."""
        return f"Sweep({self.name!r}, {len(self.cells)} cells)"

    __str__ = __repr__

    def record(self) -> SweepRecord:
        """Record that is kept beside the runs."""
        if self.submitted is not None:
            return self.submitted
        runs = [spec.run_id for spec in self.cells]
        runs += dict.fromkeys(slot for choice in self.choices for slot in choice.slots)
        return SweepRecord(
            name=self.name,
            source=self.source,
            runs=tuple(runs),
            baseline=self.baseline,
            trials=self.trials,
            choices=tuple(choice.key for choice in self.choices),
        )

    def possible(self) -> dict[str, RunSpec]:
        """Every cell that it may come to, by run id."""
        known = {spec.run_id: spec for spec in self.cells}
        for choice in self.choices:
            known |= {spec.run_id: spec for candidate in choice.candidates for spec in candidate.cells}
        return known

    def specs_of(self, cells: Iterable[str]) -> dict[str, RunSpec]:
        """The specifications of cells, of slots with the settings of the first candidate."""
        known = self.possible()
        for choice in self.choices:
            known |= zip(choice.slots, choice.candidates[0].cells, strict=True)
        return {cell: known[cell] for cell in cells}


def load_sweep(
    sweep: str | Path, runs: Path | None = None, settings: Sequence[tuple[str, Any]] = ()
) -> Sweep:
    """A sweep by the path of its file, or by its name.

    Args:
        sweep: ``sweeps/mine.yaml``, or ``mine``, which is looked for in ``sweeps/`` of the working folder and
            then among the sweeps that come with the package.
        runs: the folder of the runs that it may start from by their ids.
        settings: dotted paths of keys of the file, and what to put there in place of what it says.

    Raises:
        UserError: it is not there, or something in it does not exist or does not go together.
    """
    path = find(sweep)
    file, source = read(path, settings)
    for plugin in file.plugins:
        load_plugin(path.parent / plugin)
    try:
        found = resolved(file, runs)
        baseline = _baseline(file.baseline, found)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Sweep(
        name=file.name,
        source=source,
        cells=found.cells,
        trials=found.trials,
        choices=found.choices,
        baseline=baseline,
        execution=file.execution,
        folder=path.parent,
    )


class Resolved(NamedTuple):
    """The cells of a sweep's file; see `Sweep`."""

    cells: tuple[RunSpec, ...]
    trials: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


def resolved(file: SweepFile, runs: Path | None) -> Resolved:
    """The specifications of all cells, in the order of the file.

    They are remembered, see `pebench.plugins.memo`, unless a cell starts from a run that is named by its id.

    Raises:
        UserError: something in it does not exist, does not go together or stands twice.
    """
    if any(_names_a_run(entry) for entry in file.tasks):
        return looked_up(file, runs)
    # What a file says may depend on which of the places that it names are there, and on which tokenizer is.
    places = [
        [text, is_gpt2(path)] for text in _texts(file.model_dump()) if (path := existing(text)) is not None
    ]
    found = remembered("sweep", [repr(file), places], lambda: as_object(looked_up(file, runs)))
    return from_object(found)


def as_object(found: Resolved) -> dict[str, Any]:
    """The cells of a sweep's file as a JSON value."""
    return {
        "cells": [spec.model_dump(mode="json") for spec in found.cells],
        "trials": list(found.trials),
        "choices": [choice.model_dump(mode="json") for choice in found.choices],
    }


def from_object(found: dict[str, Any]) -> Resolved:
    """The cells of a sweep's file; see `as_object`."""
    return Resolved(
        tuple(RunSpec.model_validate(spec) for spec in found["cells"]),
        tuple(found["trials"]),
        tuple(Choice.model_validate(choice) for choice in found["choices"]),
    )


def _names_a_run(entry: Entry) -> bool:
    match entry.start:
        case StartRun():
            return True
        case Entry():
            return _names_a_run(entry.start)
    return False


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, but for the keys of its mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_texts, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_texts, value))


def looked_up(file: SweepFile, runs: Path | None) -> Resolved:
    """As `resolved`, nothing remembered."""
    count = math.prod(map(len, (file.encodings, file.tasks, *file.grid.values())))
    tried = 0
    if file.tune is not None:
        tried = file.tune.count(file.tried(file.encodings[0])) * len(file.tune.seeds)
    count *= len(file.seeds) + tried
    if count > MOST_CELLS:
        raise UserError(f"the sweep has {count:,} cells, and {MOST_CELLS:,} is the most: divide it.")
    if file.tune is not None:
        return _tuned(file, file.tune, runs)
    specs: dict[str, RunSpec] = {}
    numbers: dict[str, int] = {}
    for cell in file.cells():
        for chain in _chains(cell, file.seeds, runs):
            _refuse_twice(numbers, chain[-1])
            for spec in chain:
                specs.setdefault(spec.run_id, spec)
    return Resolved(tuple(specs.values()))


def _tuned(file: SweepFile, tune: Tune, runs: Path | None) -> Resolved:
    """The cells of a sweep that tunes: all trials come before anything else."""
    trials: dict[str, RunSpec] = {}
    known: dict[str, RunSpec] = {}
    numbers: dict[str, int] = {}
    choices = []
    for entry, cell in file.cells_of_encodings():
        tried = [(values, with_values(cell, values)) for values in tune.tried(file.tried(entry), cell)]
        found = stage(cell, tried, tune, file.seeds, lambda cell, seeds: _chains(cell, seeds, runs))
        for spec in found.reported:
            _refuse_twice(numbers, spec)
        trials |= {spec.run_id: spec for spec in found.trials}
        known |= {spec.run_id: spec for spec in found.known}
        choices.append(found.choice)
    only_tried = tuple(run_id for run_id in trials if run_id not in known)
    return Resolved(tuple((trials | known).values()), only_tried, tuple(choices))


def _chains(cell: Cell, seeds: Sequence[int], runs: Path | None) -> list[list[RunSpec]]:
    """The specifications of a cell and of what comes before it, for each seed."""
    # Everything but the seed is looked up once, which is what makes large sweeps quick to read.
    first = cell.chain(seeds[0], runs)
    return [_seeded(first, seed) for seed in seeds]


def _refuse_twice(numbers: dict[str, int], own: RunSpec) -> None:
    """Counts a cell among those that there are.

    Raises:
        UserError: it is there already.
    """
    if own.run_id in numbers:
        raise UserError(
            f"cell {len(numbers) + 1} is the same run as cell {numbers[own.run_id]} "
            f"({own.encoding.label} on {own.task.label}, seed {own.seed}): "
            "an entry or a value of the grid stands twice."
        )
    numbers[own.run_id] = len(numbers) + 1


def _seeded(chain: list[RunSpec], seed: int) -> list[RunSpec]:
    """The same chain of cells with another seed."""
    from pebench.resolve import start_of

    found: list[RunSpec] = []
    for spec in chain:
        update: dict[str, Any] = {"seed": seed}
        if found:
            update["start"] = start_of(found[-1], spec.encoding)
        found.append(spec.model_copy(update=update))
    return found


def _baseline(wanted: str | None, found: Resolved) -> str | None:
    if wanted is None:
        return None
    names = {
        spec.encoding.label: spec.encoding.name for spec in found.cells if spec.run_id not in found.trials
    }
    for choice in found.choices:
        tried = {
            candidate.cells[-1].encoding.label: candidate.cells[-1].encoding
            for candidate in choice.candidates
        }
        one = next(iter(tried.values()))
        # Where its options are tuned, it has no label before the choice.
        names |= {(label if len(tried) == 1 else one.name): one.name for label in tried}
    if wanted in names:
        return wanted
    labels = [label for label, name in names.items() if name == wanted]
    if len(labels) > 1:
        raise UserError(f"the baseline '{wanted}' may be {join_and(labels)}: write one of these.")
    if not labels:
        raise unknown("baseline", wanted, names)
    return labels[0]
