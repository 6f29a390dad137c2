"""Which parts of a split are evaluated where that is not all of it: stretches from all over its documents."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from pebench.randomness import generator


class Stretch(NamedTuple):
    """Consecutive tokens of a stream.

    Attributes:
        start: the first token that is read; the first that is predicted is the one behind it.
        length: how many are predicted.
    """

    start: int
    length: int


def spread(documents: Sequence[int], tokens: int, count: int, longest: int) -> list[Stretch]:
    """Stretches of text that are spread over the documents of a split, the same for every run.

    Each document that is long enough is one section, and neighbouring shorter ones are one together. Sections
    get stretches in proportion to their length, and each gets one where there are enough. Within a section
    they lie at random places of equal parts of it, so that none overlap.

    Args:
        documents: where each document's first token stands in the stream; the end of a text stands before it.
        tokens: of the stream.
        count: tokens to be predicted in all, at the most as many as there are.
        longest: of a stretch. All have this length but the last, which has the rest.

    Returns:
        The stretches in the order of the stream.
    """
    longest = min(longest, count)
    whole, rest = divmod(count, longest)
    lengths = [longest] * whole + [rest] * (rest > 0)
    draws = generator(0, "stretches", tokens, count, longest)
    sections = _sections(documents, tokens, longest)
    room = [(stop - start) // longest for start, stop in sections]
    if sum(room) < len(lengths):
        # Nearly all of the text is asked for: what is left out lies between stretches that follow each other.
        gaps = sorted(torch.randint(tokens - count, (len(lengths),), generator=draws).tolist())
        return [Stretch(place * longest + gaps[place], length) for place, length in enumerate(lengths)]
    shares = _shares([stop - start for start, stop in sections], room, len(lengths), draws)
    found = []
    for (start, stop), own in zip(sections, shares, strict=True):
        edges = [start + (stop - start) * part // own for part in range(own + 1)] if own else []
        for left, right in itertools.pairwise(edges):
            free = right - left - longest
            found.append(left + int(torch.randint(free + 1, (), generator=draws)) if free > 0 else left)
    return [Stretch(start, length) for start, length in zip(found, lengths, strict=True)]


def _sections(documents: Sequence[int], tokens: int, shortest: int) -> list[tuple[int, int]]:
    """Neighbouring documents, as few together as make a stretch."""
    edges = [0]
    for first in documents[1:]:
        # The end of text before a document predicts its first token.
        if first - 1 - edges[-1] >= shortest:
            edges.append(first - 1)
    if len(edges) > 1 and tokens - 1 - edges[-1] < shortest:
        edges.pop()
    return list(zip(edges, [*edges[1:], tokens - 1], strict=True))


def _shares(lengths: list[int], room: list[int], number: int, draws: torch.Generator) -> list[int]:
    """How many stretches each section gets, in proportion to its length, by systematic sampling."""
    step = sum(lengths) / number
    place = float(torch.rand((), generator=draws, dtype=torch.float64)) * step
    shares, end = [], 0
    for length in lengths:
        end += length
        own = 0
        while place < end:
            own, place = own + 1, place + step
        shares.append(own)
    shares[-1] += number - sum(shares)
    for empty in range(len(shares)) if number >= len(shares) else ():
        if not shares[empty]:
            shares[max(range(len(shares)), key=shares.__getitem__)] -= 1
            shares[empty] = 1
    for full in range(len(shares)):
        while shares[full] > room[full]:
            shares[max(range(len(shares)), key=lambda one: room[one] - shares[one])] += 1
            shares[full] -= 1
    return shares
