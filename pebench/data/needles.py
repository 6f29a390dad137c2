"""Facts to hide and texts to hide them in, in the manner of passkey retrieval (Mohtashami & Jaggi 2023,
https://arxiv.org/abs/2305.16300) and RULER (Hsieh et al. 2024, https://arxiv.org/abs/2404.06654). The words
are this project's own, so scores compare with each other and not with RULER's."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

HAY = (
    "The rain fell on the roofs of the town all morning. ",
    "A cart went by, and the dogs did not bark at it. ",
    "Somebody had left a chair in the middle of the garden. ",
    "The baker opened his window and looked at the sky. ",
    "Two old men talked about the price of apples. ",
    "There was smoke above the hills, but nobody minded it. ",
    "The river is low in summer and loud in spring. ",
    "Birds came down to the square and flew up again. ",
    "She folded the letter and put it under the lamp. ",
    "On the stairs it smelled of soap and of oranges. ",
    "The train was late, as it was on every other day. ",
    "He counted the steps, lost his place and began anew. ",
    "In the evening the wind turned and the lights went on. ",
    "Nothing was said about the weather for some time. ",
    "The clock in the hall had stopped before they came. ",
    "A boy ran past the gate with a kite behind him. ",
)
"""Sentences that say nothing of any number."""

DIGITS = 5
"""Of a number that is hidden, unless said otherwise."""

KEYS = (
    "anchor", "basket", "candle", "desert", "engine", "feather", "garden", "hammer", "island",
    "jacket", "kettle", "ladder", "mirror", "needle", "orchid", "pepper", "quarry", "ribbon",
    "saddle", "timber", "umbrella", "violin", "window", "yellow",
)  # fmt: skip
"""Names that numbers are hidden under."""


class Question(NamedTuple):
    """To stand behind a text.

    Attributes:
        text: ends where the answer begins.
        answer: the words of the right one, in the order of the question.
        steps: words that lead to it, to be written before it on a scratchpad.
    """

    text: str
    answer: tuple[str, ...]
    steps: tuple[str, ...] = ()


class Needles(NamedTuple):
    """Content hidden in a text.

    Attributes:
        asked: sentences that the question asks for, in the order of the text.
        others: sentences that look like them and are not asked for, those together that belong together.
        question: the one that an evaluation has.
        further: a question for each key, name or chain of the text, where there are several.
    """

    asked: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    question: Question
    further: tuple[Question, ...] = ()


def numbers_of(digits: int) -> range:
    """All that may be hidden: those of so many digits."""
    return range(10 ** (digits - 1), 10**digits)


def draw_needles(
    variant: str, count: int, draws: torch.Generator, digits: int = DIGITS, scratchpad: bool = False
) -> Needles:
    """Sentences, question and numbers of a variant.

    Args:
        variant: ``passkey``, ``needle``, ``multi-key``, ``multi-value``, ``multi-query``, ``two-hop`` or
            ``variable-tracking``.
        count: needles of the variants with several.
        draws: where they come from.
        digits: of each number.
        scratchpad: whether every hop of a chained variant is to be written. The question then ends with what
            the first hop begins at, and each word is looked up by the one before it.
    """
    several = variant.startswith("multi-") or variant == "two-hop"
    numbers = _numbers(2 if variant == "variable-tracking" else count if several else 1, digits, draws)
    if variant in ("two-hop", "variable-tracking"):
        return _chained(variant, numbers, count, draws, scratchpad)
    order = torch.randperm(len(KEYS), generator=draws)[:count].tolist()
    keys = [KEYS[number] for number in order]
    further = tuple(_question([key], (number,)) for key, number in zip(keys, numbers, strict=False))
    match variant:
        case "passkey":
            asked = (f"The pass key is {numbers[0]}. Remember it. ",)
            return Needles(asked, (), Question("What is the pass key? The pass key is", numbers))
        case "needle" | "multi-key":
            sentences = [_sentence(key, number) for key, number in zip(keys, numbers, strict=False)]
            return Needles((sentences[0],), tuple((one,) for one in sentences[1:]), further[0], further)
        case "multi-value":
            sentences = [_sentence(keys[0], number) for number in numbers]
            return Needles(tuple(sentences), (), _question(keys[:1], numbers))
        case "multi-query":
            sentences = [_sentence(key, number) for key, number in zip(keys, numbers, strict=True)]
            # In the order of the text no key would have to be looked up.
            order = torch.randperm(count, generator=draws).tolist()
            wanted = tuple(numbers[number] for number in order)
            question = _question([keys[number] for number in order], wanted)
            return Needles(tuple(sentences), (), question, further)
    raise ValueError(f"no variant is called '{variant}'")


def _chained(
    variant: str, numbers: tuple[str, ...], count: int, draws: torch.Generator, scratchpad: bool
) -> Needles:
    """Needles that say something of one another, so that no single one tells the answer."""
    order = torch.randperm(len(KEYS), generator=draws)[: 2 * count].tolist()
    one, other = [KEYS[number] for number in order[:count]], [KEYS[number] for number in order[count:]]
    if variant == "variable-tracking":
        asked, others = (_chain(*chain) for chain in ((one, numbers[0]), (other, numbers[1])))
        further = tuple(
            Question(
                f"Behind the number write its names: {number}"
                if scratchpad
                else f"Which names stand for {number}? Names:",
                tuple(names),
            )
            for number, names in zip(numbers, (one, other), strict=True)
        )
        return Needles(asked, (others,), further[0], further)
    pairs = [
        (f"Whoever wants {name} takes {key}. ", _sentence(key, number))
        for name, key, number in zip(one, other, numbers, strict=True)
    ]
    # In one order alone the first of the two would tell where to look for the second.
    turned = (torch.rand(count, generator=draws) < 0.5).tolist()
    first, *unasked = (pair[::-1] if turn else pair for pair, turn in zip(pairs, turned, strict=True))
    further = tuple(
        Question(f"Behind the name write its key and then the number: {name}", (number,), (key,))
        if scratchpad
        else Question(f"Which number is there for who wants {name}? Numbers:", (number,))
        for name, key, number in zip(one, other, numbers, strict=True)
    )
    return Needles(first, tuple(unasked), further[0], further)


def _chain(names: list[str], number: str) -> tuple[str, ...]:
    links = (f"Let {name} be as {before}. " for before, name in pairwise(names))
    return (f"Let {names[0]} be {number}. ", *links)


def _numbers(count: int, digits: int, draws: torch.Generator) -> tuple[str, ...]:
    """Different numbers."""
    among = numbers_of(digits)
    found: dict[str, None] = {}
    while len(found) < count:
        found[str(int(torch.randint(among.start, among.stop, (), generator=draws)))] = None
    return tuple(found)


def _sentence(key: str, number: str) -> str:
    return f"A number for {key} is {number}. "


def _question(keys: list[str], numbers: tuple[str, ...]) -> Question:
    return Question(f"Which numbers are there for {', '.join(keys)}? Numbers:", numbers)
