"""Which numbers of Python are numbers of JSON."""

from __future__ import annotations

import math
from typing import Any


def beyond_numbers(value: Any) -> list[float]:
    """The numbers anywhere in a value that are none, infinite, or whole and of more than 64 bits."""
    if isinstance(value, bool):
        return []
    if isinstance(value, float):
        return [] if math.isfinite(value) else [value]
    if isinstance(value, int):
        return [] if -(2**63) <= value < 2**63 else [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    found: list[float] = []
    for each in inside:
        # Most are finite: asked here, a thousand lines take half the time.
        if type(each) is not str and not (type(each) is float and math.isfinite(each)):
            found += beyond_numbers(each)
    return found
