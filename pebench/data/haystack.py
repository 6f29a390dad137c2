"""Putting what matters among what does not, at a depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pebench.data.tokenization import Tokenizer


def tokenized(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text."""
    return [[int(i) for i in ids] for ids in tokenizer.encode_batch(texts)]


class Hidden(NamedTuple):
    """Needles that belong together, and where they stand.

    Attributes:
        needles: the first stands at the depth, and the others follow at equal distances behind it, in the hay
            that is left.
        depth: share of the hay's tokens that go by before: 0 for the beginning, 1 for the end.
    """

    needles: Sequence[Sequence[int]]
    depth: float

    @property
    def depths(self) -> list[float]:
        """Of each needle."""
        count = len(self.needles)
        return [self.depth + (1 - self.depth) * number / count for number in range(count)]


def placed(hidden: Sequence[Hidden], hay: Sequence[Sequence[int]]) -> list[int]:
    """The ids of all pieces, none of which is cut.

    Args:
        hidden: what stands among the hay, every group by the same rule. hay: the rest, in its order.
    """
    total = sum(len(piece) for piece in hay)
    found: list[int] = []
    passed = 0
    each = [pair for group in hidden for pair in zip(group.depths, group.needles, strict=True)]
    waiting = sorted(each, key=lambda pair: pair[0])
    for piece in hay:
        # The place between two pieces that is nearest to the share wanted.
        while waiting and waiting[0][0] * total <= passed + len(piece) / 2 and waiting[0][0] < 1:
            found += waiting.pop(0)[1]
        found += piece
        passed += len(piece)
    for _, needle in waiting:
        found += needle
    return found
