"""Dyck words: name the bracket that closes the one which was opened last."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator

from pebench.specification.options import Added
from pebench.task import MOST
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask


class DyckOptions(SequenceOptions):
    """Options of the task.

    Attributes:
        kinds: of brackets.
        depth: brackets that are open at once, at the most.
        persistence: probability that a bracket opens behind one that opens, and closes behind one that
            closes, where it may. At a half most brackets close soon; the higher it is, the deeper words go.
    """

    kinds: Annotated[int, Field(ge=2, le=MOST)] = 8
    depth: Annotated[int, Field(ge=1)] = 8
    persistence: Annotated[float, Field(ge=0, lt=1), Added()] = 0.5

    @model_validator(mode="after")
    def _closes(self) -> DyckOptions:
        least = min(self.extent, *self.extents)
        if least <= self.depth:
            raise ValueError(
                f"brackets up to {self.depth} deep take {self.depth + 1} tokens or more, so that one closes "
                f"in every word, and there are {least}"
            )
        return self


class Dyck(SequenceTask[DyckOptions]):
    """Brackets open and close with equal probability; where one closes, its kind is asked for beforehand.

    Source: Hewitt et al. 2020, https://arxiv.org/abs/2010.07515, and Yao et al. 2021,
    https://arxiv.org/abs/2105.11115: two layers suffice for words of bounded depth where positions are told.

    Causal attention without positions counts brackets by their shares, so that `none` solves it in two layers
    at the trained length. Read at eight times that, `stick-breaking` must name as many as at the trained
    length, and `none` must not.
    """

    item = "tokens"
    Options = DyckOptions

    @property
    def symbols(self) -> int:
        """Opening brackets, then closing ones."""
        return 2 * self.options.kinds

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Beginnings of words: nothing closes what is open at the end."""
        kinds, most = self.options.kinds, self.options.depth
        persistence = self.options.persistence
        chance = torch.rand(count, extent, generator=draws)
        kind = torch.randint(kinds, (count, extent), generator=draws)
        tokens = torch.zeros(count, extent, dtype=torch.long)
        answers = torch.full_like(tokens, NOT_ASKED)
        rows, depth = torch.arange(count), torch.zeros(count, dtype=torch.long)
        opening = torch.ones(count, dtype=torch.bool)
        stack = torch.zeros(count, most + 1, dtype=torch.long)
        for place in range(extent):
            opens = chance[:, place] < torch.where(opening, persistence, 1 - persistence)
            opening = (opens & (depth < most)) | (depth == 0)
            closed = kinds + stack[rows, (depth - 1).clamp(min=0)]
            tokens[:, place] = torch.where(opening, kind[:, place], closed)
            if place:
                answers[:, place - 1] = torch.where(opening, NOT_ASKED, closed)
            stack[rows, depth] = torch.where(opening, kind[:, place], stack[rows, depth])
            depth += torch.where(opening, 1, -1)
        return Drawn(tokens, answers)
