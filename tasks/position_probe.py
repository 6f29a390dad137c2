"""Questions about positions themselves: which token stands where, how many there are, how far apart."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from pebench.store.task_record import EvaluationData
from pebench.task import MOST
from pebench.task_bases.sequence_task import Drawn, SequenceOptions, SequenceTask, Turn, questions

PLUS, MINUS, ASK, END = 10, 11, 12, 13
"""Beside the digits: signs, the mark before what is asked, and the end of an answer."""

LETTERS = 14
"""The first letter."""


class PositionProbeOptions(SequenceOptions):
    """Options of the task.

    Attributes:
        question: ``index``: the letter at a place, counted from one. ``indirect``: the letter so many places
            after (+) or before (−) a given one that stands once. ``count``: how often a letter stands
            there. ``pairs``: how often the first of two letters stands right before the second, in texts that
            hold equally many of each. ``distance``: from the first of two given letters that stand once to
            the second.
        letters: kinds of letters there are.
        reach: places that ``indirect`` goes at the most; by default as many as there are.
    """

    question: Literal["index", "indirect", "count", "pairs", "distance"] = "indirect"
    letters: Annotated[int, Field(ge=4, le=MOST)] = 32
    reach: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _room(self) -> PositionProbeOptions:
        least = min(self.extent, *self.extents)
        if least < 16:
            raise ValueError(f"letters, question and answer need 16 tokens, and there are {least}")
        if self.reach is not None and self.question != "indirect":
            raise ValueError(f"'reach' is for the question 'indirect', and this one is '{self.question}'")
        most = letters_of(max(self.extent, *self.extents)) - 1
        if self.reach is not None and self.reach > most:
            raise ValueError(f"the longest texts reach {most} places far, and not {self.reach}")
        return self


class PositionProbe(SequenceTask[PositionProbeOptions]):
    """Letters, `?`, a question in letters and decimal digits, and an answer that ends with a mark.

    Sources: ``indirect`` after Gopalakrishnan et al. 2025, https://arxiv.org/abs/2509.10534 (there with
    distances of a few places), the others are common probes.

    In one layer `none` sees what stands before a question as a set: `rope` and `learned` must solve ``index``
    (of fewer than ten places) and ``distance`` there, and `none` must not. With another layer it counts, and
    knows the places of texts of one length. ``pairs`` and ``indirect`` `rope` must solve in two layers, and
    `none` must not; ``count`` takes no positions: `none` must solve it too, and it stands beside ``pairs`` as
    the control.
    """

    item = "tokens"
    marked = True
    Options = PositionProbeOptions

    @property
    def symbols(self) -> int:
        """Digits, marks and letters."""
        return LETTERS + self.options.letters

    def evaluation_data(self) -> EvaluationData | None:
        """The published question, whatever strings it is asked about."""
        return EvaluationData(names=("indirect indexing",)) if self.options.question == "indirect" else None

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Texts that fill the extent as far as question and answer let them."""
        return questions([[self._question(letters_of(extent), draws)] for _ in range(count)], extent)

    def _question(self, length: int, draws: torch.Generator) -> Turn:
        def below(bound: int) -> int:
            return int(torch.randint(bound, (), generator=draws))

        text = torch.randint(self.options.letters - 2, (length,), generator=draws).add(LETTERS).tolist()
        # The last two letters stand where they are put alone.
        marks = [LETTERS + self.options.letters - 2, LETTERS + self.options.letters - 1]
        match self.options.question:
            case "index":
                place = below(length)
                return Turn([*text, ASK, *written(place + 1)], [text[place], END])
            case "indirect":
                source = below(length)
                reach = self.options.reach or length
                near = [i for i in range(length) if i != source and abs(i - source) <= reach]
                target = near[below(len(near))]
                text[source] = marks[0]
                sign = PLUS if target > source else MINUS
                return Turn([*text, ASK, marks[0], sign, *written(abs(target - source))], [text[target], END])
            case "count":
                share = float(torch.rand((), generator=draws))
                text = [
                    marks[0] if float(torch.rand((), generator=draws)) < share else letter for letter in text
                ]
                return Turn([*text, ASK, marks[0]], [*written(text.count(marks[0])), END])
            case "pairs":
                text = _paired(text, marks, draws)
                found = sum(pair == tuple(marks) for pair in pairwise(text))
                return Turn([*text, ASK, *marks], [*written(found), END])
            case "distance":
                one, other = torch.randperm(length, generator=draws)[:2].tolist()
                text[one], text[other] = marks
                sign = PLUS if other > one else MINUS
                return Turn([*text, ASK, *marks], [sign, *written(abs(other - one)), END])


def letters_of(extent: int) -> int:
    """Letters of a text whose question and answer fill the extent at their longest."""
    return extent - 5 - 2 * len(str(extent))


def _paired(text: list[int], marks: list[int], draws: torch.Generator) -> list[int]:
    """A text in which each of two letters stands as often as in every other text of its length, some of them
    side by side."""
    often = min(9, len(text) // 4)
    together = int(torch.randint(often + 1, (), generator=draws))
    pieces = [marks] * together + [[mark] for mark in marks for _ in range(often - together)]
    pieces += [[letter] for letter in text[2 * often :]]
    order = torch.randperm(len(pieces), generator=draws).tolist()
    return [letter for place in order for letter in pieces[place]]


def written(number: int) -> list[int]:
    """Decimal digits, each a token."""
    return [int(digit) for digit in str(number)]
