"""Ids of short texts that come up again and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from pebench.data.tokenization import Tokenizer

_MOST = 1 << 16
"""Texts that are remembered."""


def phrases(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    """A function that gives the ids of a sentence, a question or a word, which are not to be changed, and
    encodes each once: a drawn text consists of a dozen of them, and to encode all anew took longer than the
    step that it is drawn for.

    Args:
        tokenizer: that encodes them.
    """
    return lru_cache(_MOST)(lambda text: tokenizer.encode(text).tolist())
