"""Greedy decoding: many prompts at a time, through the key-value cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pebench.errors import UserError
from pebench.models.batching import TOKENS_AT_ONCE, batches
from pebench.models.context import Context
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation


class NoNumber(UserError):
    """A model predicts NaN: no token is the most likely one, and nothing has a likelihood."""

    def __init__(self) -> None:
        super().__init__(
            "the model predicts NaN, which scores nothing: its weights or its extent are at fault."
        )


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


@torch.no_grad()
def generate(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    reach: Extrapolation,
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
        tokens_at_once: bounds a batch of prompts, padding and room for the answers included. A single prompt
            may be longer.

    Returns:
        The new ids for each prompt. A token that ends the text is left out; a string that ends it is in, and
        `Stop.cut` takes it away.

    Raises:
        ValueError: a prompt is empty, or does not fit into the reach.
        NoNumber: the model predicts none.
    """
    require_room(prompts, limit, reach)
    found: list[list[int]] = [[] for _ in prompts]
    for batch in batches([len(prompt) + limit for prompt in prompts], tokens_at_once):
        context = Context(model, [prompts[number] for number in batch], reach)
        for number, tokens in zip(batch, greedy(context, limit, stop or Stop()), strict=True):
            found[number] = tokens
    return found


def require_room(prompts: Sequence[Sequence[int]], limit: int, reach: Extrapolation) -> None:
    """
    Raises:
        ValueError: a prompt is empty, or does not fit into the reach with so many new tokens.
    """
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {number} is empty")
        if len(prompt) + limit > reach.extent[0]:
            raise ValueError(
                f"prompt {number} has {len(prompt)} tokens, and with {limit} new ones it does not fit into "
                f"the {reach.extent[0]} positions that are served"
            )


@torch.no_grad()
def greedy(context: Context, limit: int, stop: Stop) -> list[list[int]]:
    """Result of `generate` for each row of a context, which is used up by it.

    Raises:
        NoNumber: the model predicts none.
    """
    found: list[list[int]] = [[] for _ in context.last]
    going = set(range(len(found)))
    for left in reversed(range(limit)):
        highest, best = context.model.logits(context.last).float().max(-1)
        if highest.isnan().any():
            raise NoNumber
        for row, token in enumerate(best.tolist()):
            if row in going:
                if token in stop.tokens:
                    going.remove(row)
                    continue
                found[row].append(token)
                if stop.reached(found[row]):
                    going.remove(row)
        if not going or not left:
            break
        context.go_on(best[:, None])
    return found
