"""A cell as a user writes it, before names are looked up and defaults filled in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pebench.errors import UserError, shown, unknown

if TYPE_CHECKING:
    from pebench.pretrained.published import Published
    from pebench.specification.run_spec import RunSpec

PLACES = ("encoding", "task", "model", "train")
"""First words of a dotted path."""


@dataclass(frozen=True)
class Cell:
    """One run without its seed, as it was asked for.

    Attributes:
        encoding, task: names.
        options: what was written for each of `PLACES`; it is never changed in place.
        start: the cell whose weights it begins with, the id of a run, or ``timm:`` or ``hf:`` and a published
            model; None for initial weights.
    """

    encoding: str
    task: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    start: Cell | str | None = None

    @property
    def first(self) -> str:
        """The run or the published model that all begins with; empty for initial weights."""
        return self.start.first if isinstance(self.start, Cell) else self.start or ""

    def updated(self, place: str, values: Mapping[str, Any]) -> Cell:
        """The cell with options of one place put in or replaced; mappings inside them are merged."""
        return replace(self, options={**self.options, place: merged(self.options.get(place, {}), values)})

    def with_value(self, path: str, value: Any) -> Cell:
        """The cell with one option set by its dotted path, as ``train.learning_rate``; or with several, by
        the ``model`` or ``train`` that they belong to and a mapping of them.

        Raises:
            UserError: the path does not begin with one of `PLACES`, or names no option.
        """
        place, *keys = path.split(".")
        if place not in PLACES:
            raise unknown("place", path, [f"{known}.…" for known in PLACES])
        if path in ("model", "train"):
            if not isinstance(value, Mapping):
                raise UserError(f"'{path}' takes 'option: value', not {shown(value)}.")
            return self.updated(path, value)
        if not keys or not all(keys):
            raise UserError(f"'{path}' names no option: write '{place}.option'.")
        for key in reversed(keys):
            value = {key: value}
        return self.updated(place, value)

    def has_value(self, path: str) -> bool:
        """Whether something is written at a dotted path."""
        value: Any = self.options
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return False
            value = value[key]
        return True

    def resolve(self, seed: int = 0, runs: Path | None = None) -> RunSpec:
        """The specification of the run; see `pebench.resolve.resolve`."""
        return self.chain(seed, runs)[-1]

    def chain(self, seed: int = 0, runs: Path | None = None) -> list[RunSpec]:
        """The specifications of the cells that must come before this one, in their order, and then its own.

        A run that is named by its id is none of them, for it is there already.

        Args:
            seed: of all of them.
            runs: the folder in which ids are looked up, by default `pebench.store.run_folder.runs_folder`.

        Raises:
            UserError: something in it does not exist or does not go together.
        """
        from pebench.resolve import resolve, start_named
        from pebench.store.run_folder import runs_folder

        before = self.start.chain(seed, runs) if isinstance(self.start, Cell) else []
        start: RunSpec | Published | None = before[-1] if before else None
        if isinstance(self.start, str):
            start = start_named(runs or runs_folder(), self.start)
        model = self.options.get("model", {})
        if before and self.first.startswith("hf:"):
            # What it settles is settled for all that comes after it.
            model = {**before[-1].model, **model}
        own = resolve(
            {self.encoding: self.options.get("encoding", {})},
            {self.task: self.options.get("task", {})},
            model=model,
            train=self.options.get("train"),
            seed=seed,
            start=start,
        )
        return [*before, own]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings as one; where both hold a mapping these are merged, otherwise the new value stands."""
    result = copy.deepcopy(dict(old))
    for key, value in new.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[key] = merged(before, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
