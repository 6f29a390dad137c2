"""How likely a decoder finds given continuations of given contexts: many at a time, and a context that
several continuations share is read once, into the key-value cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.models.batching import TOKENS_AT_ONCE, batches, padded
from pebench.models.context import Context
from pebench.models.decoder import Decoder
from pebench.models.row_chunks import in_chunks
from pebench.position_encoding import Extrapolation, grid, tabulate


class Continuation(NamedTuple):
    """Text to be scored.

    Attributes:
        context: ids that the model is given, at least one.
        tokens: ids whose probability is asked for, at least one.
    """

    context: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def read(self) -> int:
        """How many tokens the model reads: nothing follows the last, so it is only predicted."""
        return len(self.context) + len(self.tokens) - 1


class Likelihood(NamedTuple):
    """Likelihood of a continuation.

    Attributes:
        log: the natural logarithm of its probability.
        greedy: whether each token of it is the most likely one.
    """

    log: float
    greedy: bool


def likelihoods(
    model: Decoder,
    continuations: Sequence[Continuation],
    reach: Extrapolation,
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
    rows_at_once: int | None = None,
) -> Iterator[tuple[int, Likelihood]]:
    """Scores every continuation, a batch at a time, the longest first.

    Args:
        model: in evaluation mode.
        continuations: what is to be scored.
        reach: the extent that is served.
        tokens_at_once: bounds a batch. A single text may be longer.
        rows_at_once: bounds a batch, too.

    Yields:
        The number of a continuation and its score, as batches are done, each number once.

    Raises:
        ValueError: a context or a continuation is empty.
    """
    if not all(context and tokens for context, tokens in continuations):
        raise ValueError("a context and its continuation need one token each at least")
    shared, alone = _by_context(continuations)
    for batch in batches([continuations[n].read for n in alone], tokens_at_once, rows_at_once):
        numbers = [alone[place] for place in batch]
        scored = _read_whole(model, [continuations[n] for n in numbers], reach)
        yield from zip(numbers, scored, strict=True)
    longest = [max(continuations[number].read for number in group) for group in shared]
    for batch in batches(longest, tokens_at_once, rows_at_once):
        groups = [shared[place] for place in batch]
        yield from _read_shared(model, continuations, groups, reach, tokens_at_once, rows_at_once)


def _by_context(continuations: Sequence[Continuation]) -> tuple[list[list[int]], list[int]]:
    """Groups of numbers for which reading the context once saves a quarter of the work, and the others."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, continuation in enumerate(continuations):
        groups[continuation.context].append(number)
    shared, alone = [], []
    for context, group in groups.items():
        rest = sum(len(continuations[number].tokens) for number in group)
        if len(context) + rest <= 0.75 * (len(group) * len(context) + rest):
            shared.append(group)
        else:
            alone += group
    return shared, alone


@torch.no_grad()
def _read_whole(model: Decoder, batch: list[Continuation], reach: Extrapolation) -> list[Likelihood]:
    """Scores texts side by side. Padding stands behind them, where causal attention never looks."""
    device = next(model.parameters()).device
    tokens, _ = padded([(*context, *rest)[:-1] for context, rest in batch], device, left=False)
    table = tabulate(model.encoding, grid((tokens.shape[1],)), reach, device)
    hidden = model(tokens, table)
    rows = [row for row, (_, rest) in enumerate(batch) for _ in rest]
    places = [len(context) - 1 + place for context, rest in batch for place in range(len(rest))]
    return _scores(model, hidden[rows, places], [rest for _, rest in batch])


@torch.no_grad()
def _read_shared(
    model: Decoder,
    continuations: Sequence[Continuation],
    groups: list[list[int]],
    reach: Extrapolation,
    tokens_at_once: int,
    rows_at_once: int | None,
) -> Iterator[tuple[int, Likelihood]]:
    """Scores groups of one context each: the contexts side by side, then the continuations behind copies."""
    context = Context(model, [continuations[group[0]].context for group in groups], reach)
    members = [(row, number) for row, group in enumerate(groups) for number in group]
    for batch in batches([continuations[number].read for _, number in members], tokens_at_once, rows_at_once):
        rows = torch.tensor([members[place][0] for place in batch], device=context.last.device)
        numbers = [members[place][1] for place in batch]
        scored = likelihoods_after(context, rows, [continuations[number].tokens for number in numbers])
        yield from zip(numbers, scored, strict=True)


@torch.no_grad()
def likelihoods_after(context: Context, rows: Tensor, texts: Sequence[Sequence[int]]) -> list[Likelihood]:
    """Scores texts behind copies of rows of a context, which stays as it is.

    Args:
        context: what comes before. rows: (R,) the row that each text follows.
        texts: ids, at least one each.
    """
    new, _ = padded([text[:-1] for text in texts], rows.device, left=False)
    states = context.last[rows][:, None]
    if new.shape[1]:
        states = torch.cat((states, context.take(rows).go_on(new)), dim=1)
    at_rows = [row for row, text in enumerate(texts) for _ in text]
    at_places = [place for text in texts for place in range(len(text))]
    return _scores(context.model, states[at_rows, at_places], texts)


def _scores(model: Decoder, states: Tensor, targets: Sequence[Sequence[int]]) -> list[Likelihood]:
    """The scores of texts from the (M, D) states that predict their tokens, one text after another; never
    all logits at once."""
    device = states.device
    flat = torch.tensor([token for text in targets for token in text], device=device)

    def part(states: Tensor, wanted: Tensor) -> Tensor:
        """(m, 2): the log-likelihood of each token, and 1 where it is the most likely one."""
        logits = model.logits(states).float()
        logs = logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0]
        return torch.stack((logs, (logits.argmax(-1) == wanted).float()), dim=-1)

    found = (
        in_chunks(part, model.rows_at_once(device.type), states, flat)
        .double()
        .cpu()
        .split([len(text) for text in targets])
    )
    return [Likelihood(float(text[:, 0].sum()), bool(text[:, 1].all())) for text in found]
