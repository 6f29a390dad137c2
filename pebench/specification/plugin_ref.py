"""References to a plugin as a user writes them, in a sweep, on the command line or in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pebench.errors import UserError

PluginRef = str | Mapping[str, Any]
"""``rope``, ``{rope: {base: 500}}``, and of encodings compositions: ``learned + rope``, ``{compose: [learned,
{rope: {base: 500}}]}``, ``{layers: [{rope: {}, times: 3}, none]}``."""


def split(ref: PluginRef, kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a reference; those of a composition are its ``parts``.

    Raises:
        UserError: it is none.
    """
    if isinstance(ref, str):
        if kind == "encoding" and "+" in ref:
            return "compose", {"parts": [part.strip() for part in ref.split("+")]}
        return ref, {}
    if isinstance(ref, Mapping) and len(ref) == 1:
        name, options = next(iter(ref.items()))
        if isinstance(name, str) and "+" in name and not options:
            return split(name, kind)
        options = {} if options is None else options
        if isinstance(options, list | tuple) and kind == "encoding":
            options = {"parts": list(options)}
        if isinstance(name, str) and isinstance(options, Mapping):
            return name, dict(options)
    raise UserError(f"write the {kind} as 'name' or 'name: {{option: value}}', not {ref!r}.")


ExtrapolationRef = str | dict[str, dict[str, Any]]
"""A way past the trained extent: ``yarn``, or with options of its own ``{yarn: {factor: 4}}``."""
