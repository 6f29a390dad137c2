"""Prompts with answers: batches whose loss is on the answer alone, the likelihoods of given answers, and what
a model answers itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pebench.models.batching import TOKENS_AT_ONCE, batches
from pebench.models.context import Context
from pebench.models.decoder import Decoder
from pebench.models.generation import Stop, greedy, require_room
from pebench.models.likelihood import Likelihood, likelihoods_after
from pebench.models.row_chunks import in_chunks
from pebench.position_encoding import Extrapolation, Table, grid, tabulate
from pebench.task import Batch


class Example(NamedTuple):
    """Ids of a prompt, and of the answer that is to follow it, the token that ends it included."""

    prompt: Sequence[int]
    answer: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens that a model reads to predict the whole answer."""
        return len(self.prompt) + len(self.answer) - 1


class Scored(NamedTuple):
    """How a model takes to a given answer.

    Attributes:
        nats: negative log-likelihood of all its tokens together. tokens: their number.
        right: how many of them are the most likely ones after those before. If all are, greedy decoding gives
            this very answer: its every step is one of these.
    """

    nats: float
    tokens: int
    right: int


def answer_batch(examples: Sequence[Example], extent: int, longest: int) -> Batch:
    """`turns_batch` of one example a row."""
    return turns_batch([[example] for example in examples], extent, longest)


def turns_batch(rows: Sequence[Sequence[Example]], extent: int, longest: int) -> Batch:
    """A batch of always the same shape: the examples of a row stand at the first positions, one behind the
    other, and nothing looks at the rest.

    Args:
        rows: examples, together no longer than the extent. extent: tokens a row.
        longest: tokens of the answers of a row at the most.

    Returns:
        tokens: (B, extent); states: (B, longest), where the hidden states that predict the answers stand;
        targets: (B, longest); counted: (B, longest) bool.
    """
    # Lists, and a tensor at the end: a small model learns in the time that a few hundred small tensors take.
    tokens: list[list[int]] = []
    states: list[list[int]] = []
    targets: list[list[int]] = []
    counts: list[int] = []
    for examples in rows:
        read: list[int] = []
        standing: list[int] = []
        wanted: list[int] = []
        for prompt, answer in examples:
            first = len(read) + len(prompt) - 1
            standing += range(first, first + len(answer))
            wanted += answer
            read += [*prompt, *answer]
        tokens.append(_padded(read[:-1], extent))
        states.append(_padded(standing, longest))
        targets.append(_padded(wanted, longest))
        counts.append(len(wanted))
    return {
        "tokens": torch.from_numpy(np.array(tokens, np.int64).reshape(-1, extent)),
        "states": torch.from_numpy(np.array(states, np.int64).reshape(-1, longest)),
        "targets": torch.from_numpy(np.array(targets, np.int64).reshape(-1, longest)),
        "counted": torch.arange(longest) < torch.tensor(counts)[:, None],
    }


def _padded(numbers: list[int], length: int) -> list[int]:
    """With zeros behind, which nothing looks at."""
    assert len(numbers) <= length, f"{len(numbers)} do not fit into {length}"
    return numbers + [0] * (length - len(numbers))


def answer_weight(batch: Batch) -> float:
    """Tokens of the answers."""
    return float(batch["counted"].sum())


def answer_loss(model: Decoder, batch: Batch, table: Table) -> Tensor:
    """Sum of the negative log-likelihoods of the answers in nats; of no other token are there any logits."""
    states = _states(model, batch, table)
    return (model.losses(states, batch["targets"]) * batch["counted"]).sum()


@torch.no_grad()
def score_answers(model: Decoder, examples: Sequence[Example], reach: Extrapolation) -> list[Scored]:
    """How likely each answer is after its prompt, and how much of it greedy decoding would give."""
    device = next(model.parameters()).device
    found: list[Scored | None] = [None] * len(examples)
    for members in batches([example.length for example in examples], TOKENS_AT_ONCE):
        extent = examples[members[0]].length
        group = [examples[number] for number in members]
        longest = max(len(example.answer) for example in group)
        batch = {key: value.to(device) for key, value in answer_batch(group, extent, longest).items()}
        table = tabulate(model.encoding, grid((extent,)), reach, device)
        states = _states(model, batch, table)
        nats = (model.losses(states, batch["targets"]).double() * batch["counted"]).sum(1)
        right = (_best(model, states) == batch["targets"]) & batch["counted"]
        for number, loss, hits in zip(members, nats.tolist(), right.sum(1).tolist(), strict=True):
            found[number] = Scored(loss, len(examples[number].answer), hits)
    return [scored for scored in found if scored is not None]


class Answered(NamedTuple):
    """Answer of a model to an example.

    Attributes:
        written: ids that it writes behind the prompt; see `generate`.
        likelihood: of the given answer.
    """

    written: list[int]
    likelihood: Likelihood


@torch.no_grad()
def answer_prompts(
    model: Decoder, examples: Sequence[Example], reach: Extrapolation, limit: int, stop: Stop
) -> list[Answered]:
    """Writes an answer to each prompt greedily, and scores the given one, with one reading of the prompt.

    Args:
        model: in evaluation mode. examples: prompts with the given answers.
        reach: the extent that is served; every prompt and either answer must fit in.
        limit: of new tokens. stop: what ends a text earlier.

    Raises:
        ValueError: a prompt is empty, or does not fit into the reach.
    """
    room = max(limit, *(len(example.answer) - 1 for example in examples))
    require_room([example.prompt for example in examples], room, reach)
    found: dict[int, Answered] = {}
    for batch in batches([len(example.prompt) + room for example in examples], TOKENS_AT_ONCE):
        context = Context(model, [examples[number].prompt for number in batch], reach)
        rows = torch.arange(len(batch), device=context.last.device)
        likelihoods = likelihoods_after(context, rows, [examples[number].answer for number in batch])
        written = greedy(context, limit, stop)
        for number, new, likelihood in zip(batch, written, likelihoods, strict=True):
            found[number] = Answered(new, likelihood)
    return [found[number] for number in range(len(examples))]


def _states(model: Decoder, batch: Batch, table: Table) -> Tensor:
    """(B, longest, D): the hidden states that predict the answers."""
    hidden: Tensor = model(batch["tokens"], table)
    return hidden.gather(1, batch["states"][..., None].expand(-1, -1, hidden.shape[-1]))


def _best(model: Decoder, states: Tensor) -> Tensor:
    """(B, longest) the most likely tokens, one row of the batch at a time for the sake of memory."""
    return in_chunks(lambda row: model.logits(row).float().argmax(-1), 1, states)
