"""SCAN: commands such as "jump twice" and the actions they stand for (Lake & Baroni 2018,
https://arxiv.org/abs/1711.00350), from the files of its authors."""

from __future__ import annotations

from pathlib import Path

from pebench.data.cache import digest
from pebench.data.files import TextFiles, files_of
from pebench.data.problems import Question
from pebench.errors import UserError

COMMAND_WORDS = 9
"""Words of a command at the most."""


def scan_files(folder: str) -> dict[str, TextFiles]:
    """The files of the length split, ``tasks_train_length.txt`` and ``tasks_test_length.txt``, which may be
    compressed.

    Raises:
        UserError: they are not there.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"there is no folder '{folder}' to read SCAN's length split from.")
    found = {}
    for split in ("train", "test"):
        wanted = f"tasks_{split}_length.txt"
        files = [file for file in files_of(path) if file.name.startswith(wanted)]
        if not files:
            raise UserError(f"the folder '{folder}' has no file {wanted}, which SCAN's length split needs.")
        found[split] = TextFiles((files[0],))
    return found


def read_scan(files: TextFiles) -> list[Question]:
    """Every command of a file, in order.

    Raises:
        UserError: it cannot be read, or a line is none of SCAN's.
    """
    found = []
    for document in files.documents():
        for number, line in enumerate("".join(document).splitlines(), 1):
            command, separator, actions = line.partition(" OUT: ")
            if not separator or not command.startswith("IN: "):
                raise UserError(f"{files.paths[0]}, line {number}: 'IN: … OUT: …' is expected.")
            found.append(Question(tuple(command[4:].split()), tuple(actions.split())))
    return found


def is_held_out(question: Question) -> bool:
    """Whether a command of the training file is kept for evaluation at the trained lengths: about 5 %."""
    return int(digest([" ".join(question.question)])[:8], 16) % 20 == 0
