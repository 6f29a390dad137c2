"""A specification as one flat list of settings, for comparing, tabulating and tracking."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pebench.spec import RunSpec


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


def _leaves(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, (*path, key))
        else:
            yield ".".join((*path, key)), inner


def setting_text(value: Any) -> str:
    """A value as it is written among the settings."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
