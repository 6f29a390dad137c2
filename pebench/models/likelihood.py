"""How likely a decoder finds given continuations of given contexts: many at a time, and a context that
several continuations share is read once, into the key-value cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.attention.cache import Cache
from pebench.models.decoder import LOGITS_AT_ONCE, Decoder
from pebench.position_encoding import Reach, grid, tabulate

TOKENS_AT_ONCE = 16_384
"""Tokens in a batch, padding included."""


class Continuation(NamedTuple):
    """What is to be scored.

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
    """What the model thinks of a continuation.

    Attributes:
        log: the natural logarithm of its probability.
        greedy: whether each token of it is the most likely one.
    """

    log: float
    greedy: bool


def likelihoods(
    model: Decoder,
    continuations: Sequence[Continuation],
    reach: Reach,
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
    rows = rows_at_once or len(continuations)
    shared, alone = _by_context(continuations)
    for batch in _batches([continuations[n].read for n in alone], tokens_at_once, rows):
        numbers = [alone[place] for place in batch]
        scored = _read_whole(model, [continuations[n] for n in numbers], reach)
        yield from zip(numbers, scored, strict=True)
    for batch in _batches([_size(group, continuations) for group in shared], tokens_at_once, rows):
        groups = [shared[place] for place in batch]
        yield from _read_shared(model, continuations, groups, reach, tokens_at_once, rows)


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


def _size(group: list[int], continuations: Sequence[Continuation]) -> int:
    """Tokens of the longest text of a group."""
    return max(continuations[number].read for number in group)


def _batches(lengths: Sequence[int], tokens_at_once: int, rows: int) -> Iterator[list[int]]:
    """Places in falling order of length, as many as fit beside the longest of them."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        count = min(rows, max(1, tokens_at_once // max(1, lengths[order[start]])))
        yield order[start : start + count]
        start += count


@torch.no_grad()
def _read_whole(model: Decoder, batch: list[Continuation], reach: Reach) -> list[Likelihood]:
    """Scores texts side by side. Padding stands behind them, where causal attention never looks."""
    device = next(model.parameters()).device
    tokens, _ = _padded([(*context, *rest)[:-1] for context, rest in batch], device, left=False)
    table = tabulate(model.encoding, grid((tokens.shape[1],)).to(device), reach)
    hidden = model(tokens, table)
    rows = [row for row, (_, rest) in enumerate(batch) for _ in rest]
    places = [len(context) - 1 + place for context, rest in batch for place in range(len(rest))]
    return _scores(model, hidden[rows, places], [rest for _, rest in batch])


@torch.no_grad()
def _read_shared(
    model: Decoder,
    continuations: Sequence[Continuation],
    groups: list[list[int]],
    reach: Reach,
    tokens_at_once: int,
    rows_at_once: int,
) -> Iterator[tuple[int, Likelihood]]:
    """Scores groups of one context each: the contexts side by side, then the continuations behind copies."""
    device = next(model.parameters()).device
    contexts = [continuations[group[0]].context for group in groups]
    tokens, mask = _padded(contexts, device, left=True)
    positions = _positions(tokens, mask)
    cache = Cache(model.geometry.layers)
    hidden = model(tokens, tabulate(model.encoding, positions, reach), mask, cache)
    last, following = hidden[:, -1], positions[:, -1:] + 1
    members = [(row, number) for row, group in enumerate(groups) for number in group]
    for batch in _batches(
        [continuations[number].read for _, number in members], tokens_at_once, rows_at_once
    ):
        rows = torch.tensor([members[place][0] for place in batch], device=device)
        numbers = [members[place][1] for place in batch]
        rests = [continuations[number].tokens for number in numbers]
        states = last[rows][:, None]
        new, _ = _padded([rest[:-1] for rest in rests], device, left=False)
        if new.shape[1]:
            start = following if len(following) == 1 else following[rows]
            places = start + torch.arange(new.shape[1], device=device)[:, None]
            # Padding behind the longest context may go past what is served; nothing looks at it.
            table = tabulate(model.encoding, places.clamp(max=reach.extent[0] - 1), reach)
            states = torch.cat((states, model(new, table, None, cache.take(rows))), dim=1)
        at_rows = [row for row, rest in enumerate(rests) for _ in rest]
        at_places = [place for rest in rests for place in range(len(rest))]
        yield from zip(numbers, _scores(model, states[at_rows, at_places], rests), strict=True)


def _positions(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """(B|1, N, 1) positions, from 0 at each row's first token."""
    if mask is None:
        return grid((tokens.shape[1],)).to(tokens.device)
    return (mask.long().cumsum(1) - 1).clamp(min=0)[..., None]


def _padded(texts: Sequence[Sequence[int]], device: torch.device, left: bool) -> tuple[Tensor, Tensor | None]:
    """(B, N) tokens of texts, padded on one side, and what is no padding; None where nothing was padded."""
    longest = max(len(text) for text in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        place = slice(longest - len(text), longest) if left else slice(0, len(text))
        tokens[row, place] = torch.tensor(text, dtype=torch.long)
        mask[row, place] = True
    return tokens.to(device), None if bool(mask.all()) else mask.to(device)


def _scores(model: Decoder, states: Tensor, targets: Sequence[Sequence[int]]) -> list[Likelihood]:
    """The scores of texts from the (M, D) states that predict their tokens, one text after another; never
    all logits at once."""
    device = states.device
    flat = torch.tensor([token for text in targets for token in text], device=device)
    rows = max(1, LOGITS_AT_ONCE[device.type] // model.token_embedding.num_embeddings)
    logs, best = [], []
    for part, wanted in zip(states.split(rows), flat.split(rows), strict=True):
        logits = model.logits(part).float()
        logs.append(logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0])
        best.append(logits.argmax(-1) == wanted)
    lengths = [len(text) for text in targets]
    per_text = zip(
        torch.cat(logs).double().cpu().split(lengths), torch.cat(best).cpu().split(lengths), strict=True
    )
    return [Likelihood(float(log.sum()), bool(hit.all())) for log, hit in per_text]
