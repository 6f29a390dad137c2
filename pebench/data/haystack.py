"""Putting what matters among what does not, at a depth."""

from __future__ import annotations

from collections.abc import Sequence

from pebench.data.tokenization import Tokenizer


def tokenized(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text."""
    return [[int(i) for i in ids] for ids in tokenizer.encode_batch(texts)]


def placed(needles: Sequence[Sequence[int]], hay: Sequence[Sequence[int]], depth: float) -> list[int]:
    """The ids of all pieces, with the first needle where its share of the hay's tokens has gone by.

    Further needles follow at equal distances behind it, in the hay that is left. No piece is cut.

    Args:
        needles: what is to be found. hay: the rest, in its order.
        depth: 0 for the beginning, 1 for the end.
    """
    total = sum(len(piece) for piece in hay)
    shares = [depth + (1 - depth) * number / len(needles) for number in range(len(needles))]
    found: list[int] = []
    passed = 0
    waiting = list(zip(shares, needles, strict=True))
    for piece in hay:
        # The place between two pieces that is nearest to the share wanted.
        while waiting and waiting[0][0] * total <= passed + len(piece) / 2 and waiting[0][0] < 1:
            found += waiting.pop(0)[1]
        found += piece
        passed += len(piece)
    for _, needle in waiting:
        found += needle
    return found
