"""SCAN: commands such as "jump twice" and the actions they stand for (Lake & Baroni 2018,
https://arxiv.org/abs/1711.00350), from the files of its authors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pebench.data.cache import digest
from pebench.data.files import TextFiles, files_of, path_to, told
from pebench.data.problems import Question
from pebench.errors import UserError

COMMAND_WORDS = 9
"""Words of a command at the most."""

TRAINED_VERBS = ("walk", "look", "run")
"""The verbs in composed commands of the jump split's training file. "turn" never stands without a direction,
and is none of them."""

MOST_PRIMITIVES = 1000
"""Further verbs at the most."""


class Verb(NamedTuple):
    """A word that is an action.

    Attributes:
        word: in commands.
        action: its symbol in answers.
    """

    word: str
    action: str


def verb(word: str) -> Verb:
    """The verb with its action as SCAN spells it: "walk" is ``I_WALK``."""
    return Verb(word, f"I_{word.upper()}")


JUMP = verb("jump")
"""The verb that stands alone in the jump split's training file."""


def single(verb: Verb) -> Question:
    """The command of a verb alone."""
    return Question((verb.word,), (verb.action,))


def primitive_verbs(count: int) -> tuple[Verb, ...]:
    """The verbs that composed commands are drawn with: SCAN's own, then ``primitive1`` to
    ``primitive<count>``."""
    return tuple(verb(word) for word in (*TRAINED_VERBS, *(f"primitive{n + 1}" for n in range(count))))


def with_verbs(question: Question, verbs: Sequence[Verb]) -> Question:
    """The command with other verbs, in question and answer alike.

    Args:
        question: a command of SCAN.
        verbs: one in place of each of `TRAINED_VERBS`, wherever it stands.
    """
    pairs = list(zip(map(verb, TRAINED_VERBS), verbs, strict=True))
    words = {before.word: after.word for before, after in pairs}
    actions = {before.action: after.action for before, after in pairs}
    return Question(
        tuple(words.get(word, word) for word in question.question),
        tuple(actions.get(action, action) for action in question.answer),
    )


class Division(NamedTuple):
    """A published division of SCAN's commands.

    Attributes:
        name: in words.
        files: what its files are called, between ``tasks_train_`` or ``tasks_test_`` and ``.txt``.
        trained: actions of the longest command in training.
        lengths: usual bounds of the lengths that are tested.
        by_length: whether it tests commands that are longer than those in training, rather than others.
    """

    name: str
    files: str
    trained: int
    lengths: tuple[int, ...]
    by_length: bool


DIVISIONS = {
    "scan": Division("length split", "length", 22, (22, 28, 36, 48), by_length=True),
    "scan-jump": Division("jump split", "addprim_jump", 48, (48,), by_length=False),
    "scan-simple": Division("simple split", "simple", 48, (48,), by_length=False),
}
"""By the name of the problem. In the jump split training has "jump" alone, and the test has it in every
command; the simple split is drawn at random."""


def scan_files(problem: str, folder: str) -> dict[str, TextFiles]:
    """The files of a division, which may be compressed, by ``train`` and ``test``.

    Args:
        problem: one of `DIVISIONS`.
        folder: its path; ``~`` and environment variables (``$DATA``) are filled in.

    Raises:
        UserError: they are not there.
    """
    division, path = DIVISIONS[problem], path_to(folder)
    if path is None or not path.is_dir():
        raise UserError(f"there is no folder {told(folder)} to read SCAN's {division.name} from.")
    found = {}
    for split in ("train", "test"):
        wanted = f"tasks_{split}_{division.files}.txt"
        files = [file for file in files_of(path) if file.name.startswith(wanted)]
        if not files:
            raise UserError(
                f"the folder {told(folder)} has no file {wanted}, which SCAN's {division.name} needs."
            )
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
