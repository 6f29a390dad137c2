"""Flip-flop language modelling: read the bit that was written last, whatever else stands between."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, model_validator

from pebench.store.task_record import EvaluationData
from pebench.task_bases.decoder_task import Length
from pebench.task_bases.sequence_task import NOT_ASKED, Drawn, SequenceOptions, SequenceTask, require_even

Share = Annotated[float, Field(ge=0, lt=1)]
WRITE, READ, IGNORE = 2, 3, 4
"""Beside the bits 0 and 1."""


class FlipFlopOptions(SequenceOptions):
    """Options of the task; the defaults are the published ones.

    Attributes:
        extent: tokens of a training sequence, two for each instruction.
        ignored: share of the instructions to ignore in training.
        sparse: the same in sequences whose reads and writes are rare.
        dense: the same where they are frequent.
    """

    extent: Length = 512
    ignored: Share = 0.8
    sparse: Share = 0.98
    dense: Share = 0.1

    @model_validator(mode="after")
    def _even(self) -> FlipFlopOptions:
        least = min(self.extent, *self.extents)
        if least < 4:
            raise ValueError(f"an instruction to write and one to read need 4 tokens, and there are {least}")
        require_even((self.extent, *self.extents), "instruction")
        return self


class FlipFlop(SequenceTask[FlipFlopOptions]):
    """Instructions write, read and ignore, each followed by a bit; after read comes the bit written last.

    Source: Liu et al. 2023, https://arxiv.org/abs/2306.00946: their FFL(T, p), trained at p = 0.8 and tested
    at 0.8, at 0.98 (`-sparse`) and at 0.1 (`-dense`). `rope` must solve it in two layers at the trained
    extent, as hard attention to the last write would at any; `none` must not, to which all writes are alike.
    `-sparse` `path` must solve, and `rope` must not. In one layer at the published size, 512 tokens and a
    width of 64, `path` must solve all three, `rope` must not solve `-sparse`, and `none` must solve none.
    """

    item = "tokens"
    Options = FlipFlopOptions
    variants = ("", "-sparse", "-dense")

    @property
    def symbols(self) -> int:
        """Two bits and three instructions."""
        return 5

    def evaluation_data(self) -> EvaluationData | None:
        """The published data, where the shares are the published ones."""
        usual = {name: FlipFlopOptions.model_fields[name].default for name in ("ignored", "sparse", "dense")}
        as_published = all(getattr(self.options, name) == share for name, share in usual.items())
        return EvaluationData(names=("flip-flop",)) if as_published else None

    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """The first instruction writes, the last one reads; all reads are asked for."""
        ignored = {"": self.options.ignored, "-sparse": self.options.sparse, "-dense": self.options.dense}[
            variant
        ]
        shape = (count, extent // 2)
        other = torch.where(torch.rand(shape, generator=draws) < 0.5, WRITE, READ)
        orders = torch.where(torch.rand(shape, generator=draws) < ignored, IGNORE, other)
        orders[:, 0], orders[:, -1] = WRITE, READ
        bits = torch.randint(2, shape, generator=draws)
        written = torch.where(orders == WRITE, torch.arange(shape[1]), -1).cummax(1).values
        bits = torch.where(orders == READ, bits.gather(1, written), bits)
        asked = torch.where(orders == READ, bits, NOT_ASKED)
        return Drawn(
            torch.stack((orders, bits), dim=-1).flatten(1),
            torch.stack((asked, torch.full_like(asked, NOT_ASKED)), dim=-1).flatten(1),
        )
