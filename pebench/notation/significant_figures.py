"""Numbers to a few significant figures."""

from __future__ import annotations

import math

_LARGE = 1e6
"""From which on tables show a score with its exponent."""


def significant(value: float, figures: int) -> str:
    """``650``, ``0.012`` or ``2.3e-07``: a number rounded to so many figures, its end filled with zeros where
    it is large, and with an exponent where that would be hard to read."""
    text = f"{value:.{figures}g}"
    rounded = float(text)
    return f"{rounded:.0f}" if math.isfinite(rounded) and 10.0**figures <= abs(rounded) < _LARGE else text
