"""A piece of a sweep: the cells of some encodings and seeds, with all that these wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from pebench.errors import unknown
from pebench.specification.run_spec import RunSpec
from pebench.store.tuned_choices import Choice
from pebench.sweeping.sweep import Sweep


def piece(sweep: Sweep, encodings: Iterable[str], seeds: Iterable[int]) -> frozenset[str] | None:
    """Ids of the cells of some encodings and seeds, None where neither is asked for.

    What the cells start from belongs to them, and so do all trials that choose their settings.

    Args:
        sweep: that they are of. encodings: names of encodings, or labels with options. seeds: as numbers.

    Raises:
        UserError: the sweep has no such encoding or seed.
    """
    wanted, numbers = set(encodings), set(seeds)
    if not wanted and not numbers:
        return None
    trials = frozenset(sweep.trials)
    rows = [
        _Row({spec.encoding.name, spec.encoding.label}, spec.seed, {spec.run_id})
        for spec in sweep.cells
        if spec.run_id not in trials
    ]
    rows += (_row(choice, seed) for choice in sweep.choices for seed in choice.reported)
    for name in wanted.difference(*(row.names for row in rows)):
        raise unknown("encoding", name, {each for row in rows for each in row.names}, _owner(sweep))
    for seed in numbers - {row.seed for row in rows}:
        raise unknown("seed", str(seed), {str(row.seed) for row in rows}, _owner(sweep))
    found = {
        cell
        for row in rows
        if (not wanted or not wanted.isdisjoint(row.names)) and (not numbers or row.seed in numbers)
        for cell in row.cells
    }
    return frozenset(found).union(_starts(sweep.possible(), found))


class _Row(NamedTuple):
    """A seed of a row: the names that it is asked for by, and its cells."""

    names: Set[str]
    seed: int
    cells: Set[str]


def _row(choice: Choice, seed: int) -> _Row:
    """A seed of what a choice is reported by: its trials, its slots, those of what it starts from among them,
    and every run that may come of these."""
    first = choice.candidates[0].cells
    places = [place for place, spec in enumerate(first) if spec.seed == seed]
    runs = {candidate.cells[place].run_id for candidate in choice.candidates for place in places}
    slots = {choice.slots[place] for place in places}
    return _Row({first[-1].encoding.name, choice.encoding}, seed, {*choice.trials, *slots, *runs})


def _owner(sweep: Sweep) -> str:
    return f"sweep '{sweep.name}'"


def _starts(specs: dict[str, RunSpec], cells: Iterable[str]) -> Iterator[str]:
    """Ids of the cells that some start from, and that these start from. A run or a model from elsewhere is no
    cell."""
    for cell in cells:
        while cell in specs and (start := specs[cell].start) is not None and start.run in specs:
            cell = start.run
            yield cell
