"""Mistakes of the user, each told in one sentence."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence

_LONG = 160
"""Letters of a name or a value that a sentence shows."""

_LONGEST = 1000
"""Letters of a sentence."""

_LISTED = 40
"""Names that a sentence lists where none of them is near."""

FEW = 5
"""As many of those that a user has made, of which there may be any number."""


class UserError(Exception):
    """Something the user can put right. The command line prints its sentence and exits with status 2.

    The sentence stands on one line whatever was written: what does not print is escaped.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_cut(_escaped(sentence), _LONGEST))


@contextlib.contextmanager
def errors_of_files(place: object, failed: str = "cannot write") -> Iterator[None]:
    """Turns what the system refuses in this block into a sentence.

    Args:
        place: named where the system names no file.
        failed: what was wanted of it.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{failed} {error.filename or place}: {error.strerror}.") from error


def shown(value: object) -> str:
    """A value as Python writes it, cut in its middle where it is long."""
    try:
        return _cut(repr(value), _LONG)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deep"


def quoted(name: str) -> str:
    """A name in quotes, cut in its middle where it is long."""
    return f"'{_cut(_escaped(name), _LONG)}'"


def _escaped(text: str) -> str:
    """The text with escapes in place of line breaks, other control characters and lone surrogates."""
    return "".join(
        letter if letter.isprintable() or letter == "\u00ad" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _cut(text: str, length: int) -> str:
    """The text, or its beginning and its end where it is longer."""
    return text if len(text) <= length else f"{text[: length * 2 // 3]} … {text[-length // 3 :]}"


def unknown(kind: str, name: str, known: Iterable[str], owner: str = "", listed: int = _LISTED) -> UserError:
    """The error for a name that nothing bears, with the nearest names that exist.

    Args:
        kind: what the name should have named, for example ``"encoding"``.
        name: the name as it was written.
        known: every name that would have been right.
        owner: what it should have belonged to, for example ``"encoding 'rope'"``.
        listed: how many names are all told where none is near.
    """
    names = sorted(known)
    near = _nearest(name, names, cutoff=0.5)
    if near:
        hint = f"did you mean {join_or(near)}?"
    elif len(names) > listed:
        hint = f"there are {len(names)}, among them {join_and(_nearest(name, names, cutoff=0.0))}."
    else:
        hint = f"{there_is(names)}."
    whose = f" of {owner}" if owner else ""
    return UserError(f"unknown {kind} {quoted(name)}{whose}: {hint}")


def there_is(names: Iterable[str]) -> str:
    """``there is 'a'``, ``there are 'a' and 'b'``, or that there is none."""
    each = list(names)
    return f"there {'is' if len(each) < 2 else 'are'} {join_and(each) or 'none'}"


def _nearest(name: str, names: Iterable[str], cutoff: float) -> list[str]:
    """The three names that are most like one, the nearest first, of those that are alike enough."""
    # Papers write RoPE and ALiBi: capitals are no distance.
    folded = {each.casefold(): each for each in names}
    found = difflib.get_close_matches(name[:_LONG].casefold(), folded, n=3, cutoff=cutoff)
    return [folded[each] for each in found]


def first_of(names: Sequence[str], most: int) -> str:
    """``a, b and 3 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def join_or(names: Iterable[str]) -> str:
    """``a, b or c``, each name in quotes."""
    return _join(names, "or")


def join_and(names: Iterable[str]) -> str:
    """``a, b and c``, each name in quotes."""
    return _join(names, "and")


def _join(names: Iterable[str], last: str) -> str:
    each = [quoted(name) for name in names]
    if len(each) < 2:
        return "".join(each)
    return f"{', '.join(each[:-1])} {last} {each[-1]}"
