"""N-back recall: at each token, name the one that stood so many tokens before."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator

from pebench.task import MOST
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask


class NBackOptions(SequenceOptions):
    """Options of the task.

    Attributes:
        back: how many tokens lie between a token and the one that it asks for, and one.
        vocabulary: tokens there are.
    """

    back: Annotated[int, Field(ge=1)] = 8
    vocabulary: Annotated[int, Field(ge=2, le=MOST)] = 16

    @model_validator(mode="after")
    def _room(self) -> NBackOptions:
        least = min(self.extent, *self.extents)
        if self.back >= least:
            raise ValueError(
                f"no token stands {self.back} before another among {least}: take {self.back + 1} tokens or "
                f"more, or 'back' up to {least - 1}"
            )
        return self


class NBack(SequenceTask[NBackOptions]):
    """Tokens drawn at random, y_i = x_{i−back}: nothing but the distance tells which token is asked for.

    `rope` must solve it in one layer; `none` must not, since content says nothing, and one layer without
    positions sees the tokens before a query as a set.
    """

    item = "tokens"
    Options = NBackOptions

    @property
    def symbols(self) -> int:
        """As many as there are tokens."""
        return self.options.vocabulary

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Tokens at random."""
        back = self.options.back
        tokens = torch.randint(self.symbols, (count, extent), generator=draws)
        answers = torch.full_like(tokens, NOT_ASKED)
        answers[:, back:] = tokens[:, :-back]
        return Drawn(tokens, answers)
