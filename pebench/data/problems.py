"""Algorithmic problems: questions and answers in symbols, of any length, drawn from a generator.

Kazemnejad et al. 2023 (https://arxiv.org/abs/2305.19466) compare encodings on most of these; the others are
common in work on length generalization (Deletang et al. 2023, https://arxiv.org/abs/2207.02098).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

BEGIN, ASK, END = "<begin>", "=", "<end>"
"""Symbols that every problem has: before the question, after it, and after the answer."""

_DIGITS = tuple("0123456789")
_LETTERS = tuple("abcdefghijklmnop")


class Question(NamedTuple):
    """A question in symbols and its only right answer."""

    question: tuple[str, ...]
    answer: tuple[str, ...]


class Problem(NamedTuple):
    """A kind of question.

    Attributes:
        symbols: all that its questions and answers are made of.
        length: what its lengths count.
        draw: a question of a length.
        size: the most symbols that a question and its answer have together at a length.
        answer: the most symbols that an answer has.
    """

    symbols: tuple[str, ...]
    length: str
    draw: Callable[[int, torch.Generator], Question]
    size: Callable[[int], int]
    answer: Callable[[int], int]


def _copy(length: int, draws: torch.Generator) -> Question:
    letters = _drawn(_LETTERS, length, draws)
    return Question(letters, letters)


def _reverse(length: int, draws: torch.Generator) -> Question:
    letters = _drawn(_LETTERS, length, draws)
    return Question(letters, letters[::-1])


def _sort(length: int, draws: torch.Generator) -> Question:
    letters = _drawn(_LETTERS, length, draws)
    return Question(letters, tuple(sorted(letters)))


def _parity(length: int, draws: torch.Generator) -> Question:
    bits = _drawn(("0", "1"), length, draws)
    return Question(bits, (str(bits.count("1") % 2),))


def _modular_arithmetic(length: int, draws: torch.Generator) -> Question:
    """A sum and difference of so many digits, modulo ten."""
    digits, signs = _drawn(_DIGITS, length, draws), _drawn(("+", "-"), length, draws)
    value = int(digits[0])
    written = [digits[0]]
    for digit, sign in zip(digits[1:], signs[1:], strict=True):
        value += int(digit) if sign == "+" else -int(digit)
        written += [sign, digit]
    return Question(tuple(written), (str(value % 10),))


def _associative_recall(length: int, draws: torch.Generator) -> Question:
    """So many pairs of a key and a value, no key twice in a row of its own, and one key asked for."""
    order = torch.randperm(len(_KEYS), generator=draws)[:length].tolist()
    values = _drawn(_DIGITS, length, draws)
    asked = int(torch.randint(length, (), generator=draws))
    pairs = [symbol for key, value in zip(order, values, strict=True) for symbol in (_KEYS[key], value)]
    return Question((*pairs, "?", _KEYS[order[asked]]), (values[asked],))


def _addition(turned: bool) -> Callable[[int, torch.Generator], Question]:
    def draw(length: int, draws: torch.Generator) -> Question:
        """Two numbers of so many digits, added; turned, every number begins with its units."""
        one, other = (_number(length, draws) for _ in range(2))
        total = str(int("".join(one)) + int("".join(other))).zfill(length + 1)
        numbers = [one, other, tuple(total)]
        one, other, answer = (number[::-1] if turned else number for number in numbers)
        return Question((*one, "+", *other), answer)

    return draw


def _addition_operands(length: int, draws: torch.Generator) -> Question:
    """So many numbers of two digits, added; every number begins with its units."""
    numbers = [_number(2, draws) for _ in range(length)]
    total = str(sum(int("".join(number)) for number in numbers)).zfill(_digits_of_sum(length))
    written = [symbol for number in numbers for symbol in ("+", *number[::-1])]
    return Question(tuple(written[1:]), tuple(total[::-1]))


def _digits_of_sum(length: int) -> int:
    return len(str(99 * length))


_KEYS = tuple(f"k{number}" for number in range(256))


def _number(length: int, draws: torch.Generator) -> tuple[str, ...]:
    return (*_drawn(_DIGITS[1:], 1, draws), *_drawn(_DIGITS, length - 1, draws))


def _drawn(symbols: Sequence[str], count: int, draws: torch.Generator) -> tuple[str, ...]:
    return tuple(symbols[i] for i in torch.randint(len(symbols), (count,), generator=draws).tolist())


_ADDED = (*_DIGITS, "+")
PROBLEMS = {
    "copy": Problem(_LETTERS, "letters", _copy, lambda n: 2 * n, lambda n: n),
    "reverse": Problem(_LETTERS, "letters", _reverse, lambda n: 2 * n, lambda n: n),
    "sort": Problem(_LETTERS, "letters", _sort, lambda n: 2 * n, lambda n: n),
    "addition": Problem(_ADDED, "digits", _addition(False), lambda n: 3 * n + 2, lambda n: n + 1),
    "addition-reversed": Problem(_ADDED, "digits", _addition(True), lambda n: 3 * n + 2, lambda n: n + 1),
    "addition-operands": Problem(
        _ADDED, "numbers", _addition_operands, lambda n: 3 * n - 1 + _digits_of_sum(n), _digits_of_sum
    ),
    "parity": Problem(("0", "1"), "bits", _parity, lambda n: n + 1, lambda n: 1),
    "modular-arithmetic": Problem(
        (*_DIGITS, "+", "-"), "digits", _modular_arithmetic, lambda n: 2 * n, lambda n: 1
    ),
    "associative-recall": Problem(
        (*_KEYS, *_DIGITS, "?"), "pairs", _associative_recall, lambda n: 2 * n + 3, lambda n: 1
    ),
}
"""Every problem that is generated, by name."""

MOST_PAIRS = len(_KEYS)
"""Pairs that associative recall can have: each key stands once."""
