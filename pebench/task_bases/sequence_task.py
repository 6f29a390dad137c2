"""Base of the tasks whose sequences are drawn and ask for an answer at some of their positions."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pebench.models.batching import TOKENS_AT_ONCE
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, PositionEncoding, Table, grid, tabulate
from pebench.randomness import generator
from pebench.store.example_scores import Examples, Ratio
from pebench.task import MOST, Batch, Evaluation, Metric
from pebench.task_bases.decoder_task import DecoderTask, ExtentOptions, Length

NOT_ASKED = -1
"""In place of an answer where a sequence asks for none."""


class Drawn(NamedTuple):
    """Sequences with their answers.

    Attributes:
        tokens: (B, N) integers.
        answers: (B, N) integers: the token that a model has to name once it has read so far, or `NOT_ASKED`.
    """

    tokens: Tensor
    answers: Tensor


class SequenceOptions(ExtentOptions):
    """Options that all these tasks have.

    Attributes:
        evaluate: extents to evaluate at; by default 1, 2 and 4 times the trained one.
        examples: sequences for each extent.
    """

    times: ClassVar[tuple[int, ...]] = (1, 2, 4)

    extent: Length = 64
    examples: Annotated[int, Field(ge=1, le=MOST)] = 200

    @model_validator(mode="after")
    def _rise(self) -> SequenceOptions:
        if sorted(self.evaluate) != list(self.evaluate):
            raise ValueError("the extents to evaluate at must rise")
        return self


Options = TypeVar("Options", bound=SequenceOptions)


class SequenceTask(DecoderTask[Options]):
    """A causal decoder that reads drawn sequences and is trained on their answers alone.

    A task says how many `symbols` there are and how to `draw`.
    """

    extent_unit = "tokens"

    variants: tuple[str, ...] = ("",)
    """Kinds of sequences that are evaluated apart, by the ending of their metrics' names. Training draws the
    first."""

    marked: ClassVar[bool] = False
    """Whether each answer ends with a mark. It is right whatever a model knows, so that the headline is the
    share of sequences without a wrong answer and not that of right answers."""

    @property
    @abstractmethod
    def symbols(self) -> int:
        """How many tokens there are."""

    @abstractmethod
    def draw(self, extent: int, count: int, draws: torch.Generator, variant: str) -> Drawn:
        """(count, extent) sequences."""

    def metrics(self) -> tuple[Metric, ...]:
        """Answers that are right, and sequences all of whose answers are; which of them comes first, see
        `marked`."""
        usual = ("exact-match", "accuracy") if self.marked else ("accuracy", "exact-match")
        return tuple(Metric(f"{name}{variant}", "%", True) for variant in self.variants for name in usual)

    def prepare(self) -> dict[str, str]:
        """Nothing: sequences are drawn when they are needed."""
        return {}

    def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
        """The decoder for the task's symbols."""
        return Decoder(self.geometry(), self.symbols, encoding, self.model, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Sequences of the trained extent."""
        draws = generator(seed, "batch", split, step)
        return self.draw(self.options.extent, size, draws, self.variants[0])._asdict()

    def weight(self, batch: Batch) -> float:
        """Answers asked for."""
        return float((batch["answers"] != NOT_ASKED).sum())

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum of the negative log-likelihoods of the answers in nats."""
        assert isinstance(model, Decoder)
        answers = batch["answers"]
        losses = model.losses(model(batch["tokens"], table), answers.clamp(min=0))
        return (losses * (answers != NOT_ASKED)).sum()

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """The most likely token at each position that asks for one, in the same sequences for all encodings
        and seeds."""
        assert isinstance(model, Decoder)
        (extent,) = reach.extent
        device = next(model.parameters()).device
        table = tabulate(model.encoding, grid((extent,)), reach, device)
        kept = tuple(self._answered(model, table, extent, variant) for variant in self.variants)
        scores = {name: value for part in kept for name, value in part.scores().items()}
        return Evaluation(scores, len(self.variants) * self.options.examples * extent, kept)

    def _answered(self, model: Decoder, table: Table, extent: int, variant: str) -> Examples:
        """How many answers of each sequence are right."""
        draws = generator(0, "evaluation", extent, *([variant] if variant else []))
        drawn = self.draw(extent, self.options.examples, draws, variant)
        parts = (part.split(max(1, TOKENS_AT_ONCE // extent)) for part in drawn)
        right: list[float] = []
        asked: list[int] = []
        for tokens, answers in zip(*parts, strict=True):
            hidden = model(tokens.to(next(model.parameters()).device), table)
            best = torch.stack([model.logits(row).float().argmax(-1) for row in hidden]).cpu()
            wanted = answers != NOT_ASKED
            hits = ((best == answers) & wanted).sum(1).double()
            right += hits.where(torch.isfinite(hidden).flatten(1).all(1).cpu(), torch.nan).tolist()
            asked += wanted.sum(1).tolist()
        exact = tuple(
            hits if math.isnan(hits) else float(hits == count)
            for hits, count in zip(right, asked, strict=True)
        )
        return Examples(
            ratios=(
                Ratio(metric=f"accuracy{variant}", over="right", under="asked"),
                Ratio(metric=f"exact-match{variant}", over="exact"),
            ),
            columns={"right": tuple(right), "asked": tuple(asked), "exact": exact},
            counts={"sequences": len(asked)},
        )


def require_even(extents: Sequence[int], what: str) -> None:
    """Refuses extents that are not even.

    Args:
        extents: that of training and those to evaluate at. what: has two tokens each.

    Raises:
        ValueError: one of them is odd.
    """
    for extent in extents:
        if extent % 2:
            raise ValueError(
                f"every {what} has two tokens, so that {extent} must be even: take {extent - 1} or "
                f"{extent + 1}"
            )


class Turn(NamedTuple):
    """A prompt and the answer behind it, both tokens."""

    prompt: Sequence[int]
    answer: Sequence[int]


def questions(asked: Sequence[Sequence[Turn]], extent: int) -> Drawn:
    """Sequences of turns, which stand at the first positions.

    Args:
        asked: the turns of each sequence, together no longer than the extent and one token.
        extent: N; nothing looks at what is left of it.
    """
    tokens = torch.zeros(len(asked), extent, dtype=torch.long)
    answers = torch.full_like(tokens, NOT_ASKED)
    for row, turns in enumerate(asked):
        read: list[int] = []
        for prompt, answer in turns:
            first = len(read) + len(prompt) - 1
            answers[row, first : first + len(answer)] = torch.tensor(answer)
            read += [*prompt, *answer]
        tokens[row, : len(read) - 1] = torch.tensor(read[:-1])
    return Drawn(tokens, answers)
