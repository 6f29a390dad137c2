"""Long text in pieces, cut where a tokenizer would have cut as well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

PIECE = 1 << 16
"""Characters of a piece, at the least."""

# Byte-level BPE splits text into words before it merges anything, and a word takes the one space before it
# along. So no word reaches across these two places: before a space that a word follows, whatever stands in
# front, and between a line's end and the next line's beginning where both are visible characters.
_PLACE = re.compile(r"(?= \S)|(?<=\S\n)(?=\S)")


def cut(chunks: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """The same text in pieces that can be tokenized one by one with the outcome of the whole.

    This holds for bytes and for byte-level BPE; other tokenizers may see a word's first space at a cut
    differently. Memory is bounded by the size of a piece wherever the text has spaces or plain line ends.

    Args:
        chunks: the text in any parts.
        size: characters a piece has at the least; it ends at the first place after them.
    """
    rest = ""
    for chunk in chunks:
        unseen = max(0, len(rest) - 1)
        rest += chunk
        start = 0
        while place := _PLACE.search(rest, max(start + size, unseen)):
            yield rest[start : place.start()]
            start = place.start()
        rest = rest[start:]
    if rest:
        yield rest
