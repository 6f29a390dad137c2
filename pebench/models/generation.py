"""Greedy decoding: many prompts at a time, through the key-value cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pebench.attention.cache import Cache
from pebench.models.decoder import Decoder
from pebench.position_encoding import Reach, tabulate

TOKENS_AT_ONCE = 16_384
"""Tokens in a batch of prompts, padding and room for the answers included."""


@dataclass(frozen=True)
class Stop:
    """Where a text ends before its limit.

    Attributes:
        tokens: ids that end it; they are no part of what is returned.
        strings: what ends it where the new text holds one of them.
        decode: from ids to text; needed with `strings`.
    """

    tokens: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    def __post_init__(self) -> None:
        if self.strings and self.decode is None:
            raise ValueError("strings to stop at need a way to decode")
        if "" in self.strings:
            raise ValueError("an empty string would stop every text before it begins")

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the new text so far holds one of the strings."""
        return self.decode is not None and any(string in self.decode(tokens) for string in self.strings)

    def cut(self, text: str) -> str:
        """The text up to the first of the strings in it."""
        places = [text.find(string) for string in self.strings if string in text]
        return text[: min(places)] if places else text


def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    reach: Reach,
    limit: int,
    stop: Stop | None = None,
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> list[list[int]]:
    """The most likely next token after each prompt, again and again, decoded through the cache.

    Prompts of like lengths share a batch, the shorter ones padded on the left.

    Args:
        model: in evaluation mode.
        prompts: ids, at least one each.
        reach: the extent that is served; every prompt and what follows it must fit in.
        limit: of new tokens.
        stop: what ends a text earlier.
        tokens_at_once: see `TOKENS_AT_ONCE`. A single prompt may be longer.

    Returns:
        The new ids for each prompt. A token that ends the text is left out; a string that ends it is in, and
        `Stop.cut` takes it away.

    Raises:
        ValueError: a prompt is empty, or does not fit into the reach.
    """
    return _in_batches(model, prompts, reach, limit, stop or Stop(), tokens_at_once, _Cached)


def generate_without_cache(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    reach: Reach,
    limit: int,
    stop: Stop | None = None,
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> list[list[int]]:
    """What `generate` must give, computed from the whole text for every token: slow, and for comparison."""
    return _in_batches(model, prompts, reach, limit, stop or Stop(), tokens_at_once, _Whole)


class _Cached:
    """Feeds the model what is new; the cache holds the rest."""

    def __init__(self, model: Decoder, reach: Reach) -> None:
        self._model, self._reach = model, reach
        self._cache = Cache(model.geometry.layers)

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, D) hidden states of the last of the (B, N) new tokens."""
        table = tabulate(self._model.encoding, positions, self._reach)
        hidden: Tensor = self._model(tokens, table, mask, self._cache)
        return hidden[:, -1]


class _Whole:
    """Feeds the model everything, every time."""

    def __init__(self, model: Decoder, reach: Reach) -> None:
        self._model, self._reach = model, reach
        self._seen: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """(B, D) hidden states of the last of the (B, N) new tokens."""
        self._seen.append((tokens, positions, mask))
        all_tokens, all_positions, masks = zip(*self._seen, strict=True)
        known = [mask for mask in masks if mask is not None]
        table = tabulate(self._model.encoding, torch.cat(all_positions, 1), self._reach)
        whole_mask = torch.cat(known, 1) if known else None
        hidden: Tensor = self._model(torch.cat(all_tokens, 1), table, whole_mask)
        return hidden[:, -1]


Reader = type[_Cached] | type[_Whole]


def _in_batches(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    reach: Reach,
    limit: int,
    stop: Stop,
    tokens_at_once: int,
    reader: Reader,
) -> list[list[int]]:
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {number} is empty")
        if len(prompt) + limit > reach.extent[0]:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens, and with {limit} new ones it does not fit into "
                f"the {reach.extent[0]} positions that are served"
            )
    found: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
    for batch in _batches(order, [len(prompt) + limit for prompt in prompts], tokens_at_once):
        new = _greedy(model, [prompts[number] for number in batch], limit, stop, reader(model, reach))
        for number, tokens in zip(batch, new, strict=True):
            found[number] = tokens
    return found


def _batches(order: list[int], lengths: list[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Consecutive members of an order that falls in length, as many as fit beside the longest."""
    start = 0
    while start < len(order):
        count = max(1, tokens_at_once // lengths[order[start]])
        yield order[start : start + count]
        start += count


@torch.no_grad()
def _greedy(
    model: Decoder, prompts: list[Sequence[int]], limit: int, stop: Stop, read: _Cached | _Whole
) -> list[list[int]]:
    device = next(model.parameters()).device
    tokens, mask = _padded(prompts, device)
    if mask is None:
        positions = torch.arange(tokens.shape[1], device=device)[None]
    else:
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    found: list[list[int]] = [[] for _ in prompts]
    going = set(range(len(prompts)))
    for _ in range(limit):
        last = model.logits(read(tokens, positions[..., None], mask)).float().argmax(-1)
        for row, token in enumerate(last.tolist()):
            if row in going:
                if token in stop.tokens:
                    going.remove(row)
                    continue
                found[row].append(token)
                if stop.reached(found[row]):
                    going.remove(row)
        if not going:
            break
        tokens, positions = last[:, None], positions[:, -1:] + 1
        mask = None if mask is None else torch.ones_like(tokens, dtype=torch.bool)
    return found


def _padded(prompts: list[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, N) tokens, padded on the left, and what is no padding; None where nothing had to be padded."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, longest - len(prompt) :] = True
    return tokens.to(device), None if bool(mask.all()) else mask.to(device)
