"""How an answer is compared with the right ones, after SQuAD's normalisation (Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without punctuation and articles, words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(written: str, right: Sequence[str]) -> float:
    """1 if it is one of the right answers after normalisation, else 0."""
    return float(any(normalised(written) == normalised(answer) for answer in right))


def f1(written: str, right: Sequence[str]) -> float:
    """The harmonic mean of the precision and the recall of words, for the nearest of the right answers."""
    return max(_f1(normalised(written).split(), normalised(answer).split()) for answer in right)


def contains(written: str, right: Sequence[str]) -> float:
    """1 if the words of a right answer stand side by side anywhere in it after normalisation, else 0: a
    lenient score, which a model earns by writing much."""
    found = normalised(written)
    # An answer of articles alone is nothing after normalisation, and nothing stands in every text.
    return float(any(f" {normalised(a)} " in f" {found} " if normalised(a) else not found for a in right))


def _f1(written: list[str], right: list[str]) -> float:
    shared = (Counter(written) & Counter(right)).total()
    return 2 * shared / (len(written) + len(right)) if shared else 0.0
