"""Constants of an encoding that were published for one trained extent, and may follow another."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SHARE = re.compile(r"([1-9]\d{0,3}(\.\d{1,3})?|0\.\d{0,2}[1-9])%")


def _readable(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (isinstance(value, str) and _SHARE.fullmatch(value)) or (number and value > 0):
        return value
    raise ValueError("it is a number above 0, or a share of the trained extent, as '25%'")


def _countable(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("it is a whole number above 0, or a share of the trained extent, as '25%'")
    return _readable(value)


Constant = Annotated[float | str, BeforeValidator(_readable)]
"""A number above 0, or a share of the trained extent: ``25%``."""

WholeConstant = Annotated[int | str, BeforeValidator(_countable)]
"""The same for what is counted."""


def constant(value: float | str, extent: int) -> float:
    """The number that a constant is at a trained extent: 128 for ``25%`` of 512."""
    return float(value.removesuffix("%")) / 100 * extent if isinstance(value, str) else float(value)
