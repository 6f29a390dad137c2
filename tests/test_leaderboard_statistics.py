"""Intervals that hold what they say."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebench.leaderboard.statistics import half_width


def test_the_interval_of_a_textbook_sample() -> None:
    # 2.1, 2.4, 2.7: mean 2.4, standard deviation 0.3, t(0.975, 2) = 4.302653.
    sample = numpy.array([2.1, 2.4, 2.7])
    width = half_width(sample.std(ddof=1), sample.size)
    assert float(width) == pytest.approx(4.302653 * 0.3 / math.sqrt(3), rel=1e-6)


def test_one_seed_says_nothing_about_the_spread() -> None:
    assert numpy.isnan(half_width([math.nan, math.nan], [1, math.nan])).all()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_95_of_100_intervals_hold_the_truth(seeds: int) -> None:
    sample = numpy.random.default_rng(0).normal(2.5, 0.1, size=(20_000, seeds))
    width = half_width(sample.std(axis=1, ddof=1), numpy.full(len(sample), seeds))
    held = numpy.abs(sample.mean(axis=1) - 2.5) <= width
    assert held.mean() == pytest.approx(0.95, abs=0.006)


# Without numbers below the normal range: training in the same process rounds them to zero.
@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=8),
    st.floats(0.01, 100.0),
    st.floats(-1e3, 1e3, allow_subnormal=False),
)
def test_the_interval_scales_with_the_numbers_and_not_with_their_place(
    sample: list[float], scale: float, shift: float
) -> None:
    before = half_width(numpy.std(sample, ddof=1), len(sample))
    moved = numpy.array(sample) * scale + shift
    after = half_width(moved.std(ddof=1), len(sample))
    assert float(after) == pytest.approx(float(before) * scale, rel=1e-6, abs=1e-6)
