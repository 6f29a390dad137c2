"""Names of sweeps: which are allowed, and which file has one."""

from __future__ import annotations

import re
from pathlib import Path

from pebench.errors import FEW, UserError, quoted, unknown
from pebench.sweeping import yaml_file

MOST_LETTERS = 120
"""Of a sweep's name, of which files are made that have longer ones."""


def refuse_name(name: str) -> None:
    """Refuses what cannot name a sweep, of which files are made and addresses.

    Raises:
        UserError: it has other letters, or too many.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        near = quoted(hyphened(name) or "my-sweep")
        raise UserError(f"a sweep's name is made of a-z, 0-9 and hyphens, as {near}.")
    if len(name) > MOST_LETTERS:
        raise UserError(f"a sweep's name has {MOST_LETTERS} letters at the most, not {len(name)}.")


def hyphened(text: str) -> str:
    """The text in the letters of names: ``word-perplexity`` for ``Word perplexity``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def find(sweep: str | Path) -> Path:
    """The file of a sweep that is given by its path or its name.

    Raises:
        UserError: there is none; the sentence names the nearest.
    """
    path = Path(sweep)
    if yaml_file.is_named(str(sweep)) or len(path.parts) > 1:
        return path
    known = _known()
    if str(sweep) not in known:
        raise unknown("sweep", str(sweep), known, listed=FEW)
    return known[str(sweep)]


def names() -> list[str]:
    """The names of all sweeps that have a file in ``sweeps/`` or come with the package."""
    return list(_known())


def _known() -> dict[str, Path]:
    return {
        file.stem: file
        for folder in reversed(_folders())
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "claims.yaml"
    }


def is_name(sweep: str | Path) -> bool:
    """Whether a text is the name of a sweep, not the path of its file."""
    return not yaml_file.is_named(str(sweep)) and len(Path(sweep).parts) <= 1


def is_there(sweep: str | Path) -> bool:
    """Whether a path or a name is that of a sweep's file."""
    path = Path(sweep)
    if yaml_file.is_named(str(sweep)) or len(path.parts) > 1:
        return path.exists()
    return any((folder / f"{sweep}.yaml").exists() for folder in _folders())


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    shipped = package / "sweeps"
    # An installed copy holds the sweeps in the package; a checkout has them at its top.
    return [Path("sweeps"), shipped if shipped.is_dir() else package.parent / "sweeps"]
