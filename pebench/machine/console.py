"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_NO_TERMINAL = 400


def plain_console() -> Console:
    """A console for tables on the standard output; where that is a file or a pipe, nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=_NO_TERMINAL)
