"""Reading a text file that a user names."""

from __future__ import annotations

from pathlib import Path

from pebench.errors import UserError, quoted


def read_text(path: Path) -> str:
    """The text of a file, without the mark that some editors put before it.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {quoted(str(path))[1:-1]}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: it is not UTF-8 text.") from error
