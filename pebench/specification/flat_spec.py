"""A specification as one flat list of settings, for comparing, tabulating and tracking."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pebench.specification.run_spec import OBSERVING, RunSpec


def settings(spec: RunSpec) -> dict[str, str]:
    """Every setting of a run by its dotted name, as ``{"train.steps": "300", "task.options.extent": "128"}``.

    Texts stand as they are, everything else as JSON, so that equal values are written equally.
    """
    values = spec.model_dump(mode="json")
    # Of the run that a run starts from, whose encoding and seed are its own, only the label says more.
    del values["start"]
    if spec.start is not None:
        values["start"] = spec.start.label
    return {name: setting_text(value) for name, value in _leaves(values, ())}


def told_apart(
    specs: Mapping[str, RunSpec], unchosen: Mapping[str, Collection[str]] = MappingProxyType({})
) -> dict[str, str]:
    """What tells cells apart whose encoding, task and seed are the same, as ``train.learning_rate=0.002``;
    empty for the others.

    Args:
        specs: by cell.
        unchosen: paths of the settings that a cell waits for, which say nothing of it, by cell.
    """
    alike: dict[tuple[str, str, int], list[str]] = {}
    for cell, spec in specs.items():
        alike.setdefault((spec.encoding.label, spec.task.label, spec.seed), []).append(cell)
    found = dict.fromkeys(specs, "")
    for cells in alike.values():
        if len(cells) > 1:
            own = {
                cell: {
                    k: v for k, v in settings(specs[cell]).items() if not is_below(k, unchosen.get(cell, ()))
                }
                for cell in cells
            }
            open_paths = [path for cell in cells for path in unchosen.get(cell, ())]
            names = _distinguishing(list(own.values()), [*_SAY_LITTLE, *open_paths])
            found |= {
                cell: ", ".join(f"{name}={each[name]}" for name in names if name in each)
                for cell, each in own.items()
            }
    return found


def is_below(name: str, paths: Iterable[str]) -> bool:
    """Whether a setting is at one of some paths or below it."""
    return any(name == path or name.startswith(f"{path}.") for path in paths)


_SAY_LITTLE = ("start", *(f"train.{name}" for name in OBSERVING))
"""Settings that tell cells apart only where no others do: they are long, or decide no result."""


def _distinguishing(values: Sequence[Mapping[str, str]], last: Collection[str]) -> list[str]:
    """Settings that together have other values for each, no more of them than it takes; those at or below the
    paths `last` where no others do."""
    names = dict.fromkeys(name for each in values for name in each)
    chosen: list[str] = []
    known = 1
    for name in sorted(names, key=lambda name: is_below(name, last)):
        different = len({tuple(each.get(n) for n in (*chosen, name)) for each in values})
        if different > known:
            chosen.append(name)
            known = different
    return chosen


def with_settings(label: str, others: str) -> str:
    """The name of a cell: ``rope [train.learning_rate=0.002]``, or the label alone."""
    return f"{label} [{others}]" if others else label


def _leaves(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, (*path, key))
        else:
            yield ".".join((*path, key)), inner


def setting_text(value: Any) -> str:
    """A value as it is written among the settings."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
