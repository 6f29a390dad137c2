"""Text that is no valid Unicode."""

from __future__ import annotations


def whole(text: str) -> str:
    """The text with U+FFFD for each half of a pair of surrogates, as a text that was cut inside of an emoji
    ends with."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
