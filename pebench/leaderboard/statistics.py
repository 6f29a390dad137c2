"""The 95 % t interval of a mean over seeds, which holds what it says for as few as two of them.

A percentile bootstrap over three seeds covers the truth four times in five, and not nineteen times in twenty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike

CONFIDENCE = 0.95


def half_width(deviation: ArrayLike, count: ArrayLike) -> numpy.ndarray[Any, Any]:
    """Half the width of the 95 % t interval of a mean.

    Args:
        deviation: the samples' standard deviations, with n − 1 in the denominator.
        count: n, the samples' sizes.

    Returns:
        An array of their shape; NaN for a sample of one, which says nothing about its spread.
    """
    import numpy
    from scipy import stats

    count = numpy.asarray(count, dtype=float)
    freedom = numpy.where(count > 1, count - 1, numpy.nan)
    quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)
    width: numpy.ndarray[Any, Any] = quantile * numpy.asarray(deviation, dtype=float) / numpy.sqrt(count)
    return width
