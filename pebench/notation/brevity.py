"""What others say at length, in as many words as a line of a table has room for."""

from __future__ import annotations

import re

_ENOUGH = 200
"""Letters from which on no further sentence is added."""


def briefly(message: str) -> str:
    """The first line of a message, and of that its first sentences where it is long.

    Libraries put advice to their own developers below what went wrong, or behind it.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    brief, *others = re.split(r"(?<=[.!?]) +(?=[A-Z])", first)
    for sentence in others:
        if len(brief) + 1 + len(sentence) > _ENOUGH:
            break
        brief += f" {sentence}"
    return brief
