"""The interpreter that carries out what was submitted."""

from __future__ import annotations

import shlex
import sys


def interpreter() -> str:
    """As a shell takes it. What is submitted is what is installed here, not a package that lies in the folder
    of submission, as a checkout does."""
    return f"{shlex.quote(sys.executable)} -P"
