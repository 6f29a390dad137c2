"""Paired comparisons of scores: differences, intervals, tests and Holm's correction.

Scores are paired by seed, and by document (question, picture) where both sides have kept the scores of these;
see `pebench.leaderboard.uncertainty`.

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
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pebench.leaderboard.uncertainty import CONFIDENCE, Uncertainty, of_seeds, of_seeds_and_text

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike

    from pebench.store.example_scores import ByUnit

    Array = numpy.ndarray[Any, Any]

ROUNDING = 1e-12
"""Relative to the scores: two differences that are closer than this are equal up to rounding."""


@dataclass(frozen=True)
class Sample:
    """Scores of one group of runs at one place.

    Attributes:
        source: equal for two samples that are the same scores of the same runs.
        scores: by seed, of every seed that was asked for; NaN where its run has no score.
        by_unit: by seed, the scores by document or what else they are means over, where these were kept.
        rounding: of the scores, relative to them.
        material: see `pebench.leaderboard.sampling.material`.
    """

    source: Hashable
    scores: Mapping[int, float]
    by_unit: Mapping[int, ByUnit] = field(default_factory=dict)
    rounding: float = ROUNDING
    material: str = "text"


NOTHING = Sample(None, {})
"""The sample that has no seed in common with any."""


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two samples over the seeds that both were asked for; NaN where nothing is known.

    Attributes:
        first: mean of the first sample, over the common seeds; over its own where none is common.
        second: mean of the second, likewise.
        difference: mean of first − second; NaN unless every common seed has both scores.
        half_width: half the width of the difference's 95 % interval.
        p: of the two-sided test.
        p_holm: p after Holm's correction over the family.
        pairs: number of common seeds; 0 where there is no difference.
        above: pairs in which the first score is larger.
        below: pairs in which it is smaller.
        identical: whether both samples are the same runs. They have no difference and no test then.
        uncertainty: of the difference; None where there is none.
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
    uncertainty: Uncertainty | None = None


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
    tests = [_paired_test(first, second) for first, second in pairs]
    corrected = holm_by_family([test.p for test in tests], families)
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def _paired_test(first: Sample, second: Sample) -> PairedTest:
    seeds = sorted(first.scores.keys() & second.scores.keys())
    means = [average([s.scores[seed] for seed in seeds] or list(s.scores.values())) for s in (first, second)]
    test = PairedTest(means[0], means[1], identical=first.source == second.source)
    differences = [first.scores[seed] - second.scores[seed] for seed in seeds]
    if not seeds or test.identical or any(map(math.isnan, differences)):
        return test
    found = difference_of(first, second)
    return replace(
        test,
        difference=found.mean,
        half_width=found.half_width,
        p=two_sided(found),
        uncertainty=found,
        pairs=len(seeds),
        above=sum(difference > 0 for difference in differences),
        below=sum(difference < 0 for difference in differences),
    )


def mean_of(sample: Sample) -> Uncertainty:
    """The mean of a sample over its seeds, each of which has a score."""
    values = list(sample.scores.values())
    rounding = sample.rounding * max(map(abs, values))
    found = by_unit([sample.by_unit.get(seed) for seed in sample.scores])
    if found is None:
        return of_seeds(values, rounding)
    return of_seeds_and_text(values, *found, rounding, sample.material)


def difference_of(first: Sample, second: Sample) -> Uncertainty:
    """The mean of first − second over their common seeds, at each of which both have a score."""
    seeds = sorted(first.scores.keys() & second.scores.keys())
    values = [first.scores[seed] - second.scores[seed] for seed in seeds]
    rounding = max(first.rounding, second.rounding) * max(abs(first.scores[seed]) for seed in seeds)
    both = [side.by_unit.get(seed) for side in (first, second) for seed in seeds]
    found = by_unit(both) if len(seeds) > 1 else None
    if found is None:
        return of_seeds(values, rounding)
    influence, weights = found
    apart = influence[: len(seeds)] - influence[len(seeds) :]
    return of_seeds_and_text(values, apart, weights, rounding, first.material)


def by_unit(found: Sequence[ByUnit | None]) -> tuple[Array, Array] | None:
    """(N, U) what each document moves several scores by, and the (U,) weights of the documents.

    None unless all scores are of the same two documents or more, and there are two scores.
    """
    import numpy

    known = [one for one in found if one is not None]
    if len(known) < max(2, len(found)) or len(known[0].keys) < 2:
        return None
    if not all(one.same_units(known[0]) for one in known[1:]):
        return None
    return numpy.stack([one.influence for one in known]), known[0].weights


def two_sided(found: Uncertainty) -> float:
    """p of the test that shows a difference. Where there is none at all it is 1. Where all are the same there
    is no p: a t test needs a spread, and three equal wins are no certainty."""
    if not found.spread:
        return 1.0 if found.seeds > 1 and abs(found.mean) <= found.rounding else math.nan
    return min(1.0, 2 * min(found.p_above(0.0), found.p_below(0.0)))


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
    from scipy.special import stdtr

    difference, scores = numpy.asarray(difference, dtype=float), numpy.asarray(scores, dtype=float)
    known = ~numpy.isnan(difference)
    count = numpy.where(known.any(axis=1), known.sum(axis=1), numpy.nan)
    mean = numpy.where(known, difference, 0.0).sum(axis=1) / count
    squares = numpy.where(known, (difference - mean[:, None]) ** 2, 0.0).sum(axis=1)
    deviation = numpy.sqrt(squares / numpy.where(count > 1, count - 1, numpy.nan))
    rounding = ROUNDING * numpy.where(known, numpy.abs(scores), 0.0).max(axis=1, initial=0.0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.abs(mean) / (deviation / numpy.sqrt(count))
    p = 2.0 * stdtr(count - 1, -t)
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
    from scipy.special import stdtrit

    count = numpy.asarray(count, dtype=float)
    freedom = numpy.where(count > 1, count - 1, numpy.nan)
    quantile = stdtrit(freedom, 0.5 + CONFIDENCE / 2)
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


def average(values: Sequence[float]) -> float:
    """Their mean, NaN for none."""
    return sum(values) / len(values) if values else math.nan
