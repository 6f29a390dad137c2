"""Paired comparisons of scores by seed: differences, t intervals, paired t tests and Holm's correction.

`pebench leaderboard` and `pebench compare` both test with this module, so they give one p for one pair. What
Holm's correction (Holm 1979, "A simple sequentially rejective multiple test procedure") runs over, the
family, is stated by the caller for each comparison.

The intervals are Student's t: a percentile bootstrap over three seeds covers the truth four times in five,
not nineteen times in twenty.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike

    Array = numpy.ndarray[Any, Any]

CONFIDENCE = 0.95
LEVEL = 0.05
"""A difference counts as shown where its corrected p is below."""

ROUNDING = 1e-12
"""Relative to the scores: two differences that are closer than this are equal up to rounding."""


@dataclass(frozen=True)
class Sample:
    """Scores of one group of runs at one place.

    Attributes:
        source: equal for two samples that are the same scores of the same runs.
        scores: by seed, of every seed that was asked for; NaN where its run has no score.
    """

    source: Hashable
    scores: Mapping[int, float]


NOTHING = Sample(None, {})
"""The sample that has no seed in common with any."""


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two samples over the seeds that both were asked for; NaN where nothing is known.

    Attributes:
        first: mean of the first sample, over the common seeds; over its own where none is common.
        second: mean of the second, likewise.
        difference: mean of first − second; NaN unless every common seed has both scores.
        half_width: half the width of the difference's 95 % t interval.
        p: of the two-sided paired t test.
        p_holm: p after Holm's correction over the family.
        pairs: number of common seeds; 0 where there is no difference.
        above: pairs in which the first score is larger.
        below: pairs in which it is smaller.
        identical: whether both samples are the same runs. They have no difference and no test then.
    """

    first: float
    second: float
    difference: float = math.nan
    half_width: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    pairs: int = 0
    above: int = 0
    below: int = 0
    identical: bool = False


class TTest(NamedTuple):
    """Results of many paired t tests, one element a test; NaN where there is none.

    Attributes:
        mean: of the differences.
        half_width: half the width of its 95 % t interval.
        p: two-sided.
    """

    mean: Array
    half_width: Array
    p: Array


def paired_tests(pairs: Sequence[tuple[Sample, Sample]], families: Sequence[Hashable]) -> list[PairedTest]:
    """Compares the samples of each pair.

    Args:
        pairs: what is compared.
        families: for each pair, the family of its test. Holm's correction is over the tests of one family;
            identical samples and pairs without a p are no members of any.
    """
    import numpy

    common = [sorted(first.scores.keys() & second.scores.keys()) for first, second in pairs]
    width = max(map(len, common), default=0)
    scores = numpy.full((2, len(pairs), width), numpy.nan)
    for number, (pair, seeds) in enumerate(zip(pairs, common, strict=True)):
        for side, sample in enumerate(pair):
            scores[side, number, : len(seeds)] = [sample.scores[seed] for seed in seeds]
    difference = scores[0] - scores[1]
    known = (~numpy.isnan(difference)).sum(axis=1)
    identical = numpy.array([first.source == second.source for first, second in pairs], dtype=bool)
    complete = (known == [len(seeds) for seeds in common]) & (known > 0) & ~identical
    difference[~complete] = numpy.nan
    told = paired_t(difference, scores[0])
    above, below = (difference > 0).sum(axis=1), (difference < 0).sum(axis=1)
    tests = []
    for number, (pair, seeds) in enumerate(zip(pairs, common, strict=True)):
        first, second = (
            _mean([sample.scores[seed] for seed in seeds] or list(sample.scores.values())) for sample in pair
        )
        test = PairedTest(first, second, identical=bool(identical[number]))
        if complete[number]:
            test = replace(
                test,
                difference=float(told.mean[number]),
                half_width=float(told.half_width[number]),
                p=float(told.p[number]),
                pairs=len(seeds),
                above=int(above[number]),
                below=int(below[number]),
            )
        tests.append(test)
    corrected = holm_by_family([test.p for test in tests], families)
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def paired_t(difference: ArrayLike, scores: ArrayLike) -> TTest:
    """Paired t tests of rows of differences.

    Args:
        difference: (tests, seeds); NaN where there is no pair.
        scores: (tests, seeds), of one side, whose size says what is lost in rounding.

    Returns:
        Arrays of shape (tests,). One pair has neither interval nor p. Where there is no difference at all, p
        is 1. Other differences that are all the same have no p: a t test needs a spread, and three equal
        wins are no certainty.
    """
    import numpy
    from scipy import stats

    difference, scores = numpy.asarray(difference, dtype=float), numpy.asarray(scores, dtype=float)
    known = ~numpy.isnan(difference)
    count = numpy.where(known.any(axis=1), known.sum(axis=1), numpy.nan)
    mean = numpy.where(known, difference, 0.0).sum(axis=1) / count
    squares = numpy.where(known, (difference - mean[:, None]) ** 2, 0.0).sum(axis=1)
    deviation = numpy.sqrt(squares / numpy.where(count > 1, count - 1, numpy.nan))
    rounding = ROUNDING * numpy.where(known, numpy.abs(scores), 0.0).max(axis=1, initial=0.0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.abs(mean) / (deviation / numpy.sqrt(count))
    p = 2.0 * stats.t.sf(t, count - 1)
    unspread = numpy.where(numpy.abs(mean) <= rounding, 1.0, numpy.nan)
    p = numpy.where(deviation <= rounding, unspread, p)
    return TTest(mean, half_width(deviation, count), p)


def half_width(deviation: ArrayLike, count: ArrayLike) -> Array:
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
    width: Array = quantile * numpy.asarray(deviation, dtype=float) / numpy.sqrt(count)
    return width


def holm(p: ArrayLike) -> Array:
    """Holm-corrected p of one family of tests; NaN stays NaN and is no member of it."""
    import numpy

    p = numpy.asarray(p, dtype=float)
    corrected = numpy.full(p.shape, numpy.nan)
    order = numpy.argsort(p)[: numpy.count_nonzero(~numpy.isnan(p))]
    stepped = p[order] * numpy.arange(len(order), 0, -1)
    corrected[order] = numpy.minimum(numpy.maximum.accumulate(stepped), 1.0)
    return corrected


def holm_by_family(p: Sequence[float], families: Sequence[Hashable]) -> list[float]:
    """Holm-corrected p of tests of several families, in their order."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, family in enumerate(families):
        members[family].append(number)
    corrected = [math.nan] * len(p)
    for numbers in members.values():
        for number, value in zip(numbers, holm([p[number] for number in numbers]), strict=True):
            corrected[number] = float(value)
    return corrected


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
