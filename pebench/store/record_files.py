"""Files of records: read whole or line by line, and damage told in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pebench.errors import UserError, shown
from pebench.notation.numbers_of_json import beyond_numbers
from pebench.specification.run_spec import Frozen

Record = TypeVar("Record", bound=BaseModel)


class Unreadable(UserError):
    """A file of a run's folder is damaged. What reads one raises nothing else, so that who reads many runs
    can leave this one out, say so, and serve the others."""


class NoNumber(Unreadable):
    """A number in a file of a run is none, is infinite or has more digits than any that is written."""


def read_record(path: Path, model: type[Record]) -> Record | None:
    """The record that a file holds, None where there is no file.

    Raises:
        Unreadable: the file is there, but is no such record.
    """
    try:
        found = model.model_validate_json(path.read_bytes())
        beyond = beyond_numbers(found.model_dump())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise Unreadable(f"{path} cannot be read: {error.errors()[0]['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} cannot be read: {error}.") from error
    if beyond:
        raise NoNumber(f"{path} cannot be read: it holds {shown(beyond[0])}, which no run writes.")
    return found


def read_lines(path: Path, model: type[Record]) -> Iterator[Record]:
    """The records of a file of lines, in order. A line that a crash cut short is passed over.

    Raises:
        Unreadable: the file is there, but cannot be read.
    """
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    try:
                        found = model.model_validate_json(line)
                    except ValidationError:
                        continue
                    if not beyond_numbers(found.model_dump()):
                        yield found
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}.") from error


def append_line(path: Path, record: Frozen) -> None:
    """Adds a record to a file of lines in one write, after mending a line that a crash cut short."""
    line = record.model_dump_json() + "\n"
    with path.open("ab") as file:
        if file.tell() and not _ends_with_newline(path):
            line = "\n" + line
        file.write(line.encode())


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
