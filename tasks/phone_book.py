"""PhoneBook: a list of names and numbers, and one name whose number is asked for."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator

from pebench.specification.options import Added
from pebench.task import MOST
from pebench.task_bases.decoder_task import Length
from pebench.task_bases.sequence_task import Drawn, SequenceOptions, SequenceTask, Turn, questions

ASK, END, SYLLABLES = 10, 11, 12
"""Beside the digits: the mark before the question, the end of the answer, and the first syllable."""

FEW = 1_000_000
"""Names that are put into an order to choose some of them; of more there is no room for that."""


class PhoneBookOptions(SequenceOptions):
    """Options of the task.

    Attributes:
        syllables: kinds of syllables that names are made of.
        name: syllables of a name.
        digits: of a number.
        asked: names whose numbers are asked for, one after another, each drawn by itself. The more there are,
            the sooner a model learns to look them up.
    """

    extent: Length = 128
    syllables: Annotated[int, Field(ge=2, le=MOST)] = 64
    name: Annotated[int, Field(ge=1)] = 2
    digits: Annotated[int, Field(ge=1)] = 4
    asked: Annotated[int, Field(ge=1), Added()] = 1

    @model_validator(mode="after")
    def _room(self) -> PhoneBookOptions:
        least, most = min(self.extent, *self.extents), max(self.extent, *self.extents)
        if self.entries(least) < 1:
            raise ValueError(
                f"one entry and the questions need {least + self.name + self.digits - self._left(least)} "
                f"tokens, and there are {least}"
            )
        if self.entries(most) > self.syllables**self.name:
            raise ValueError(
                f"{most} tokens take {self.entries(most)} names, and there are {self.syllables**self.name}"
            )
        return self

    def entries(self, extent: int) -> int:
        """Entries of a book that fills an extent beside questions and answers."""
        return self._left(extent) // (self.name + self.digits)

    def _left(self, extent: int) -> int:
        """Tokens beside the questions, with a mark each, and the answers, whose last mark is not read."""
        return extent + 1 - self.asked * (self.name + self.digits + 2)


class PhoneBook(SequenceTask[PhoneBookOptions]):
    """Entries name number name number …, then a name, whose number is to be written.

    Source: Jelassi et al. 2024, https://arxiv.org/abs/2402.01032, with syllables for words. To find an
    entry by its name and read on behind it takes two layers of attention: `rope` must solve it in two, and
    `none` must not, to which a name does not stand nearer to its own number than to others. Books that ask
    once are learnt by models that begin with the weights of one that was ``asked`` for several.
    """

    item = "tokens"
    marked = True
    Options = PhoneBookOptions

    @property
    def symbols(self) -> int:
        """Digits, marks and syllables."""
        return SYLLABLES + self.options.syllables

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Books without a name that stands twice."""
        return questions([self._book(self.options.entries(extent), draws) for _ in range(count)], extent)

    def _book(self, entries: int, draws: torch.Generator) -> list[Turn]:
        kinds, size = self.options.syllables, self.options.name
        names = _names(kinds, size, entries, draws)
        numbers = torch.randint(10, (entries, self.options.digits), generator=draws).tolist()
        asked = torch.randint(entries, (self.options.asked,), generator=draws).tolist()
        book = [token for name, number in zip(names, numbers, strict=True) for token in (*name, *number)]
        turns = [Turn([ASK, *names[one]], [*numbers[one], END]) for one in asked]
        return [Turn([*book, *turns[0].prompt], turns[0].answer), *turns[1:]]


def _names(kinds: int, size: int, count: int, draws: torch.Generator) -> list[list[int]]:
    """So many names of so many syllables, none twice."""
    if kinds**size <= FEW:
        order = torch.randperm(kinds**size, generator=draws)[:count]
        powers = kinds ** torch.arange(size)
        found = (order[:, None] // powers % kinds).tolist()
    else:
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < count:
            more = torch.randint(kinds, (count - len(drawn), size), generator=draws)
            drawn |= dict.fromkeys(map(tuple, more.tolist()))
        found = [list(name) for name in drawn]
    return [[SYLLABLES + syllable for syllable in name] for name in found]
