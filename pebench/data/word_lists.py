"""Lists of words that stand in them more and less often, in the manner of RULER's common and frequent words
(Hsieh et al. 2024, https://arxiv.org/abs/2404.06654). The words are made up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import permutations

import torch

LEXICON = tuple(
    f"{first}{vowel}{last}{end}"
    for first in ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r")
    for vowel in ("a", "e", "i", "o", "u")
    for last in ("l", "n", "r", "s", "t")
    for end in ("a", "o")
)
"""Words of four letters, in alphabetical order but for their third letters."""

CODES = tuple("".join(digits) for digits in permutations("1234"))
"""Codes that have their digits in common, so that nothing but the order of these tells one from another."""

DOTS = "..."
"""In place of the most frequent word of all."""

_RATIO = 10
_POWER = 2.0


def common_counts(size: int, asked: int, kinds: int) -> list[int]:
    """How often words stand in a list of no more than so many: the common ones, which make a third of it, ten
    times as often as the others, and at least twice. Where there are too few other words for the rest, all of
    them stand there, some once more than the others, and the common ones make more than a third.

    Args:
        size: of the list. asked: common words. kinds: words that there are.

    Returns:
        By word, the common ones first; empty if the list is too short.
    """

    def every_word(often: int) -> int:
        """Length of a list of all words."""
        return asked * often + max(1, often // _RATIO) * (kinds - asked)

    filling = bisect_right(range(size + 1), size, key=every_word) - 1
    often = max(2, size // (3 * asked), filling)
    seldom = max(1, often // _RATIO)
    others = min((size - asked * often) // seldom, kinds - asked)
    left = size - asked * often - seldom * others
    # Otherwise a list would have to grow by all words at once.
    twice = min(left, others) if others == kinds - asked and often + 1 == _RATIO * (seldom + 1) else 0
    return [often] * asked + [seldom + 1] * twice + [seldom] * (others - twice) if others > 0 else []


def frequent_counts(size: int, asked: int, kinds: int) -> list[int]:
    """How often words stand in a list of so many, the k-th as often as 1/k² says; the first are the dots.

    Args:
        size: of the list. asked: words behind the dots that must be told from the rest by their number.
        kinds: words that there are.

    Returns:
        By word; empty if the list is too short.
    """
    ranks = torch.arange(1, kinds + 1, dtype=torch.float64) ** -_POWER
    counts = [count for count in (size * ranks / ranks.sum()).long().tolist() if count]
    enough = len(counts) > asked + 1 and len(set(counts[: asked + 2])) == asked + 2
    return counts if enough else []


@cache
def filling_counts(room: int, dots: int, word: int, asked: int, kinds: int) -> tuple[int, ...]:
    """`frequent_counts` of the longest list that has room.

    Args:
        room: tokens. dots: tokens of the dots. word: tokens of every other word. asked, kinds: see there.
    """

    def tokens(size: int) -> int:
        often, *others = frequent_counts(size, asked, kinds) or [0]
        return dots * often + word * sum(others)

    # The dots are more than half of every list.
    size = bisect_right(range(2 * room), room, key=tokens) - 1
    return tuple(frequent_counts(size, asked, kinds))


def draw_words(lexicon: Sequence[str], count: int, draws: torch.Generator) -> list[str]:
    """So many different words."""
    return [lexicon[number] for number in torch.randperm(len(lexicon), generator=draws)[:count].tolist()]


def shuffled(words: Sequence[str], counts: Sequence[int], draws: torch.Generator) -> list[str]:
    """Each word as often as its count says, in any order."""
    repeated = [word for word, count in zip(words, counts, strict=True) for _ in range(count)]
    return [repeated[place] for place in torch.randperm(len(repeated), generator=draws).tolist()]
