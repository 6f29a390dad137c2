"""Ids of short texts that come up again and again."""

from __future__ import annotations

from pebench.data.tokenization import Tokenizer

_MOST = 1 << 16
"""Texts that are remembered; then all are forgotten."""


class Phrases:
    """Ids of sentences, questions and words, each encoded once: a drawn text consists of a dozen of them, and
    to encode all anew took longer than the step that it is drawn for.

    Args:
        tokenizer: that encodes them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The ids of a text; not to be changed."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[text] = self._tokenizer.encode(text).tolist()
        return found
