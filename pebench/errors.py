"""Mistakes of the user, each told in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right. The command line prints its sentence and exits with status 2."""


def unknown(kind: str, name: str, known: Iterable[str], owner: str = "") -> UserError:
    """The error for a name that nothing bears, with the nearest names that exist.

    Args:
        kind: what the name should have named, for example ``"encoding"``.
        name: the name as it was written.
        known: every name that would have been right.
        owner: what it should have belonged to, for example ``"encoding 'rope'"``.
    """
    names = sorted(known)
    # Papers write RoPE and ALiBi: capitals are no distance.
    folded = {each.casefold(): each for each in names}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    if near:
        hint = f"did you mean {join_or(near)}?"
    elif names:
        hint = f"there is {join_and(names)}."
    else:
        hint = "there is none."
    whose = f" of {owner}" if owner else ""
    return UserError(f"unknown {kind} '{name}'{whose}: {hint}")


def join_or(names: Iterable[str]) -> str:
    """``a, b or c``, each name in quotes."""
    return _join(names, "or")


def join_and(names: Iterable[str]) -> str:
    """``a, b and c``, each name in quotes."""
    return _join(names, "and")


def _join(names: Iterable[str], last: str) -> str:
    quoted = [f"'{name}'" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
