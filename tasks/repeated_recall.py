"""Multi-query repeated associative recall: keys get new values again and again, one of which is asked for."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator

from pebench.task import MOST
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask, require_even


class RepeatedRecallOptions(SequenceOptions):
    """Options of the task.

    Attributes:
        back: which of the former values of a key is asked for: 1 is the latest, 2 the one before it.
        keys: kinds of keys there are.
        values: kinds of values.
    """

    back: Annotated[int, Field(ge=1)] = 1
    keys: Annotated[int, Field(ge=1, le=MOST)] = 8
    values: Annotated[int, Field(ge=2, le=MOST)] = 16

    @model_validator(mode="after")
    def _room(self) -> RepeatedRecallOptions:
        least = min(self.extent, *self.extents)
        if least // 2 <= self.keys * self.back:
            raise ValueError(
                f"{self.keys} keys with {self.back} former values each take "
                f"{2 * self.keys * self.back + 2} tokens or more, and there are {least}"
            )
        require_even((self.extent, *self.extents), "pair")
        return self


class RepeatedRecall(SequenceTask[RepeatedRecallOptions]):
    """Pairs of a key and a value at random; at a key, the value that it was given `back` times before.

    Source: Tan et al. 2024, https://arxiv.org/abs/2410.17980, who ask for the latest value; earlier ones
    (MQRAR-N) Yang et al. 2025, https://arxiv.org/abs/2505.16381. Neither content nor distance alone tells
    which pair is meant: pairs with the key have to be counted backwards. The value before the last `rope`
    must name in two layers, and `none` must not.
    """

    item = "tokens"
    Options = RepeatedRecallOptions

    @property
    def symbols(self) -> int:
        """Keys and values."""
        return self.options.keys + self.options.values

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Keys and values at random. With more pairs than keys have former values, one key repeats enough."""
        back, shape = self.options.back, (count, extent // 2)
        keys = torch.randint(self.options.keys, shape, generator=draws)
        values = torch.randint(self.options.values, shape, generator=draws) + self.options.keys
        # Pairs by their keys, those of one key in order.
        order = keys.argsort(dim=1, stable=True)
        alike = keys.gather(1, order[:, back:]) == keys.gather(1, order[:, :-back])
        former = values.gather(1, order[:, :-back]).where(alike, NOT_ASKED)
        asked = torch.full(shape, NOT_ASKED).scatter(1, order[:, back:], former)
        return Drawn(
            torch.stack((keys, values), dim=-1).flatten(1),
            torch.stack((asked, torch.full_like(asked, NOT_ASKED)), dim=-1).flatten(1),
        )
