"""Multi-query associative recall: pairs of a key and a value come first, and keys are asked for later."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from pebench.task import MOST
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask


class AssociativeRecallOptions(SequenceOptions):
    """Options of the task; the defaults are the smallest published setting.

    Attributes:
        pairs: of a training sequence. Longer sequences have as many more as they are longer.
        vocabulary: tokens there are: keys are of the first half, values of the second.
        spread: exponent of the distances at which keys are asked for: p(x) ∝ x^(spread − 1).
        between: what stands between the questions: one token that is neither key nor value, or any tokens.
    """

    pairs: Annotated[int, Field(ge=1)] = 4
    vocabulary: Annotated[int, Field(ge=4, le=MOST)] = 8192
    spread: Annotated[float, Field(gt=0, le=16)] = 0.01
    between: Literal["blank", "random"] = "blank"

    @model_validator(mode="after")
    def _room(self) -> AssociativeRecallOptions:
        extents = (self.extent, *self.extents)
        for extent in extents:
            needed = 4 * self.pairs_of(extent)
            if needed > extent:
                raise ValueError(
                    f"{needed // 4} pairs and as many questions need {needed} tokens, and there are {extent}"
                )
        longest = max(extents)
        pairs = self.pairs_of(longest)
        if pairs >= self.vocabulary // 2:
            raise ValueError(
                f"the {pairs} keys and as many values of {longest} tokens take a vocabulary of "
                f"{2 * pairs + 2} or more, not {self.vocabulary}"
            )
        return self

    def pairs_of(self, extent: int) -> int:
        """Pairs of a sequence."""
        return max(1, self.pairs * extent // self.extent)


class AssociativeRecall(SequenceTask[AssociativeRecallOptions]):
    """k₁ v₁ k₂ v₂ … and then, between tokens that mean nothing, each key once more, whose value is asked for.

    Source: Arora et al. 2024, https://arxiv.org/abs/2312.04927, whose models read 64 to 512 tokens with 4 to
    64 pairs. Two layers of attention solve it there, one layer does not: `rope` must solve it in two layers
    and must not in one, and `none` must not in two, which has to learn what stands before what. After how
    many updates `rope` does differs from seed to seed, by more than twice.
    """

    item = "tokens"
    Options = AssociativeRecallOptions

    @property
    def symbols(self) -> int:
        """Keys and values."""
        return self.options.vocabulary

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """Keys and values without repetition."""
        pairs, half = self.options.pairs_of(extent), self.options.vocabulary // 2
        keys = _distinct(count, half - 1, pairs, draws) + 1
        values = _distinct(count, half, pairs, draws) + half
        tokens = torch.zeros(count, extent, dtype=torch.long)
        if self.options.between == "random":
            tokens = torch.randint(2 * half, (count, extent), generator=draws)
        tokens[:, : 2 * pairs] = torch.stack((keys, values), dim=-1).flatten(1)
        places = torch.arange(1, (extent - 2 * pairs) // 2 + 1, dtype=torch.float64)
        likely = (places ** (self.options.spread - 1)).expand(count, -1)
        asked = 2 * pairs + 2 * likely.multinomial(pairs, generator=draws)
        answers = torch.full_like(tokens, NOT_ASKED).scatter(1, asked, values)
        return Drawn(tokens.scatter(1, asked, keys), answers)


def _distinct(count: int, among: int, wanted: int, draws: torch.Generator) -> torch.Tensor:
    """(count, wanted) numbers below `among`, none twice in a row."""
    return torch.rand(count, among, generator=draws).topk(wanted).indices
