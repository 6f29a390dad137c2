"""Intervals over seeds and text: their coverage by simulation, and what power and equivalence say."""

from __future__ import annotations

import math

import numpy
import pytest
from scipy import stats

from pebench.leaderboard.uncertainty import (
    Uncertainty,
    effective,
    freedom,
    of_seeds,
    of_seeds_and_text,
    parts,
)


def layouts(
    rng: numpy.random.Generator, count: int, seeds: int, units: int, text: float, rest: float
) -> numpy.ndarray:
    """Scores by seed and document around 0, whose mean has a variance of 1.

    Args:
        rng: draws them.
        count: layouts.
        seeds: of each.
        units: documents of each.
        text: the text's share of what is not rest.
        rest: the share of what neither seed nor document explains.
    """
    own = math.sqrt((1 - rest) * (1 - text) * seeds) * rng.standard_normal((count, seeds, 1))
    documents = math.sqrt((1 - rest) * text * units) * rng.standard_normal((count, 1, units))
    return own + documents + math.sqrt(rest * seeds * units) * rng.standard_normal((count, seeds, units))


def split(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Scores, influences and weights of layouts of units of equal weight."""
    scores = values.mean(-1)
    units = values.shape[-1]
    return scores, (values - scores[..., None]) / units, numpy.full(units, 1 / units)


@pytest.mark.parametrize("rest", [0.02, 0.8])
@pytest.mark.parametrize("text", [0.0, 0.1, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("units", [5, 32])
@pytest.mark.parametrize("seeds", [3, 5])
def test_93_to_97_of_100_intervals_hold_the_truth(seeds: int, units: int, text: float, rest: float) -> None:
    rng = numpy.random.default_rng([seeds, units, round(100 * text), round(100 * rest)])
    held, count = 0, 6_000
    for _ in range(3):
        found = parts(*split(layouts(rng, count // 3, seeds, units, text, rest)))
        width = stats.t.ppf(0.975, found.freedom) * numpy.sqrt(found.seeds + found.text)
        held += int((numpy.abs(found.mean) <= width).sum())
    assert 0.93 <= held / count <= 0.97


@pytest.mark.parametrize("sizes", [0.5, 1.0])
@pytest.mark.parametrize("units", [8, 40])
@pytest.mark.parametrize("seeds", [3, 5])
def test_so_do_they_where_documents_differ_in_size(seeds: int, units: int, sizes: float) -> None:
    rng = numpy.random.default_rng([seeds, units, round(10 * sizes)])
    held, count = 0, 2_000
    for _ in range(count):
        weights = numpy.exp(sizes * rng.standard_normal(units))
        weights /= weights.sum()
        documents, rest = rng.normal(0, 0.3, units), rng.normal(0, 0.1, (seeds, units))
        values = documents + rng.normal(0, 0.05, (seeds, 1)) + rest
        scores = values @ weights
        found = of_seeds_and_text(scores, weights * (values - scores[:, None]), weights)
        held += abs(found.mean) <= found.half_width
    assert 0.93 <= held / count <= 0.97


def test_one_long_document_among_short_ones_counts_as_few() -> None:
    weights = numpy.array([0.9, *[0.01] * 10])
    assert effective(weights) == pytest.approx(1.23, abs=0.01)
    assert effective(numpy.full(7, 1 / 7)) == pytest.approx(7)


def test_seeds_alone_leave_out_the_text() -> None:
    found = parts(*split(layouts(numpy.random.default_rng(0), 4_000, 3, 16, 0.8, 0.1)))
    width = stats.t.ppf(0.975, 2) * numpy.sqrt(found.seeds)
    assert (numpy.abs(found.mean) <= width).mean() < 0.85


def test_seeds_and_text_are_the_two_parts_of_the_variance() -> None:
    values = layouts(numpy.random.default_rng(1), 1, 5, 200, 0.5, 0.1)[0]
    both, alone = of_seeds_and_text(*split(values)), of_seeds(list(values.mean(1)))
    assert both.mean == pytest.approx(alone.mean)
    assert both.by_seed == pytest.approx(alone.by_seed)
    assert both.error > alone.error
    assert both.text_share == pytest.approx(both.by_text / (both.by_text + both.by_seed))
    assert math.isnan(alone.text_share)
    assert both.freedom > alone.freedom == 4


def test_without_text_the_interval_is_that_of_student() -> None:
    sample = [1.0, 1.2, 1.7]
    low, high = stats.t.interval(0.95, 2, numpy.mean(sample), stats.sem(sample))
    found = of_seeds(sample)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert math.isnan(of_seeds([1.0]).half_width)
    assert float(freedom(1.0, 0.0, 3, 10)) == pytest.approx(2)


def test_one_and_two_sided_tests_are_those_of_student() -> None:
    sample = [0.02, 0.05, 0.03, 0.06]
    found = of_seeds(sample)
    assert found.p_above(0.01) == pytest.approx(stats.ttest_1samp(sample, 0.01, alternative="greater").pvalue)
    assert found.p_below(0.1) == pytest.approx(stats.ttest_1samp(sample, 0.1, alternative="less").pvalue)
    assert found.p_equivalent(0.1) == pytest.approx(max(found.p_above(-0.1), found.p_below(0.1)))
    # Equivalence at 5 % is a 90 % interval within the margin.
    edge = found.mean + found.quantile(0.95) * found.error
    assert found.p_equivalent(edge * 1.001) < 0.05 < found.p_equivalent(edge * 0.999)


@pytest.mark.parametrize(("seeds", "detectable"), [(3, 3.3), (5, 1.7), (8, 1.2)])
def test_what_so_many_seeds_can_show_in_standard_deviations(seeds: int, detectable: float) -> None:
    found = Uncertainty(0.0, seeds, 1.0 / seeds)
    assert found.detectable() == pytest.approx(detectable, abs=0.05)
    assert found.seeds_needed(1.0001 * found.detectable()) == seeds


def test_the_power_is_how_often_a_difference_is_shown() -> None:
    rng = numpy.random.default_rng(3)
    samples = rng.normal(1.0, 0.8, (20_000, 6))
    shown = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert Uncertainty(0.0, 3, 0.8**2 / 3).power(1.0, 6) == pytest.approx(shown, abs=0.01)


def test_no_number_of_seeds_shows_what_the_text_hides() -> None:
    found = Uncertainty(0.01, 3, 1e-5, 1e-4, units=8)
    assert found.seeds_needed(0.01) is None
    assert found.seeds_needed(0.06) is not None
    assert Uncertainty(0.01, 3, 1e-5).seeds_needed(0.01) == 5


def test_where_nothing_spreads_there_is_no_test() -> None:
    found = of_seeds([0.001, 0.001 + 1e-17, 0.001], rounding=1e-12)
    assert math.isnan(found.p_above(0.0))
    assert math.isnan(found.p_equivalent(0.1))
    assert found.seeds_needed(0.001) is None
