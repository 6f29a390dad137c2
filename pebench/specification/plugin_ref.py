"""References to a plugin as a user writes them, in a sweep, on the command line or in Python."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from pebench.errors import UserError, quoted

PluginRef = str | Mapping[str, Any]
"""``rope``, ``{rope: {base: 500}}``, and of encodings compositions: ``learned + rope``, ``{compose: [learned,
{rope: {base: 500}}]}``, ``{layers: [{rope: {}, times: 3}, none]}``."""


def split(ref: PluginRef, kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a reference; those of a composition are its ``parts``.

    Raises:
        UserError: it is none.
    """
    if isinstance(ref, str) and ref.strip():
        if kind == "encoding" and "+" in ref:
            parts = [part.strip() for part in ref.split("+")]
            if not all(parts):
                raise UserError(f"{quoted(ref)} lacks an encoding beside a '+', as in 'learned + rope'.")
            return "compose", {"parts": parts}
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


def misplaced_options(kind: str, written: str, known: Container[str]) -> UserError | None:
    """The error for what names a plugin and, behind it, options in a form that they do not have, as
    ``rope:base=500``; None for all else.

    Args:
        kind: what the name should have named.
        written: where a name should stand.
        known: all names.
    """
    named = _WITH_OPTIONS.match(written)
    if named is None or named[1] not in known:
        return None
    options = _OPTION.findall(written, named.end(1)) or [("option", "value")]
    form = f"'{{{named[1]}: {{{', '.join(f'{key}: {value}' for key, value in options)}}}}}'"
    if kind == "task":
        settings = " ".join(f"--set task.{key}={value}" for key, value in options)
        form = f"{form} in a sweep, and '--task {named[1]} {settings}' on a command line"
    return UserError(f"{quoted(written)} is no name: '{named[1]}' with options is written as {form}.")


_WITH_OPTIONS = re.compile(r"\s*([\w-]+)\s*(?:[:=(\[{]|[\s,]\s*\w+\s*[:=])")
_OPTION = re.compile(r"(\w+)\s*[:=]\s*([^\s,;:=()\[\]{}]+)")


ExtrapolationRef = str | dict[str, dict[str, Any]]
"""A way past the trained extent: ``yarn``, or with options of its own ``{yarn: {factor: 4}}``."""
