"""A piece of a sweep: the cells of some encodings and seeds, with all that these wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pebench.errors import unknown
from pebench.spec import RunSpec
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
    known = {spec.run_id: spec for spec in sweep.cells if spec.run_id not in set(sweep.trials)}
    slots = [(choice, place, slot) for choice in sweep.choices for place, slot in enumerate(choice.slots)]
    reported = [*known.values(), *(choice.candidates[0].cells[place] for choice, place, _ in slots)]
    for name in wanted - {name for spec in reported for name in _names(spec)}:
        raise unknown("encoding", name, {each for spec in reported for each in _names(spec)}, _owner(sweep))
    for seed in numbers - {spec.seed for spec in reported}:
        raise unknown("seed", str(seed), {str(spec.seed) for spec in reported}, _owner(sweep))

    def asked_for(spec: RunSpec) -> bool:
        return (not wanted or not wanted.isdisjoint(_names(spec))) and (not numbers or spec.seed in numbers)

    found = {run_id for run_id, spec in known.items() if asked_for(spec)}
    for choice, place, slot in slots:
        if asked_for(choice.candidates[0].cells[place]):
            found |= {slot, *choice.trials, *(each.cells[place].run_id for each in choice.candidates)}
    return frozenset(found).union(_starts(sweep.possible(), found))


def _names(spec: RunSpec) -> tuple[str, str]:
    return spec.encoding.name, spec.encoding.label or spec.encoding.name


def _owner(sweep: Sweep) -> str:
    return f"sweep '{sweep.name}'"


def _starts(specs: dict[str, RunSpec], cells: Iterable[str]) -> Iterator[str]:
    """Ids of the cells that some start from, and that these start from."""
    for cell in cells:
        while cell in specs and (start := specs[cell].start) is not None:
            cell = start.run
            yield cell
