"""Numbers to a few figures, as a reader writes them."""

from __future__ import annotations

import math

import pytest

from pebench.notation.significant_figures import significant


@pytest.mark.parametrize(
    ("value", "figures", "written"),
    [
        (648.0, 2, "650"),
        (99.7, 2, "100"),
        (12_345.6, 4, "12350"),
        (-1_234.0, 3, "-1230"),
        (6.96, 2, "7"),
        (0.01234, 2, "0.012"),
        (2.34e-7, 2, "2.3e-07"),
        (23_390_000.0, 3, "2.34e+07"),
        (math.nan, 2, "nan"),
        (math.inf, 2, "inf"),
    ],
)
def test_only_what_is_very_small_or_large_has_an_exponent(value: float, figures: int, written: str) -> None:
    assert significant(value, figures) == written
