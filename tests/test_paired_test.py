"""Intervals, tests and ranks that say no more than the numbers do."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from specimens.run_folders import begin, diverge, finish, record_sweep, specification

from pebench.leaderboard import from_runs, make_board, write_leaderboard
from pebench.leaderboard.paired_test import Sample, half_width, holm, mean_of, paired_t, paired_tests
from pebench.leaderboard.ranks import ByDocument, tied_ranks
from pebench.store.example_scores import ByUnit


def test_holm_of_a_hand_computed_example() -> None:
    # In order 0.01·3, 0.03·2 and 0.04·1, of which the last may not be below the one before it.
    corrected = holm([0.01, 0.04, math.nan, 0.03])
    assert corrected == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)


def test_holm_never_passes_one_and_of_nothing_is_nothing() -> None:
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert numpy.isnan(holm([math.nan])).all()


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=6))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    corrected = holm(p)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for tested, number in enumerate(sorted(range(len(p)), key=lambda number: p[number])):
            if p[number] > level / (len(p) - tested):
                break
            rejected.add(number)
        close = any(abs(value * count - level) < 1e-9 for value in p for count in range(1, len(p) + 1))
        assert close or rejected == {number for number, value in enumerate(corrected) if value <= level}


def test_the_paired_test_of_a_textbook_sample() -> None:
    # Differences 1, 2 and 3: t = 2·√3, and with two degrees of freedom p = 1 − t/√(t² + 2).
    told = paired_t([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]])
    t = 2 * math.sqrt(3)
    assert told.p == pytest.approx([1 - t / math.sqrt(t * t + 2)])
    assert told.half_width == pytest.approx([4.302653 / math.sqrt(3)], rel=1e-6)


def test_where_nothing_varies_there_is_no_p_unless_nothing_differs() -> None:
    none = math.nan
    told = paired_t([[0.3, 0.3, 0.3], [0.0, 0.0, 0.0], [0.3, none, none], [none] * 3], [[1.0] * 3] * 4)
    assert told.p == pytest.approx([none, 1.0, none, none], nan_ok=True)


@pytest.mark.parametrize("shift", [0.001, -0.3, 1e-9])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e5])
def test_a_constant_difference_has_no_p_however_large_the_scores_are(shift: float, size: float) -> None:
    first = {seed: size * value for seed, value in enumerate((7.9, 8.3, 16.4))}
    second = {seed: value - size * shift for seed, value in first.items()}
    (test,) = paired_tests([(Sample("a", first), Sample("b", second))], [None])
    assert test.difference == pytest.approx(size * shift, rel=1e-6)
    assert math.isnan(test.p)
    assert math.isnan(test.p_holm)
    same = {seed: value * (1 + 1e-15) for seed, value in first.items()}
    (test,) = paired_tests([(Sample("a", first), Sample("b", same))], [None])
    assert test.p == 1.0


def test_a_family_holds_its_own_tests_and_no_comparison_of_a_sample_with_itself() -> None:
    base = Sample("base", {0: 1.0, 1: 2.0, 2: 4.0})
    near = Sample("near", {0: 1.1, 1: 2.3, 2: 4.2})
    far = Sample("far", {0: 2.1, 1: 3.3, 2: 5.2})
    tests = paired_tests([(near, base), (far, base), (base, base), (near, base)], ["a", "a", "a", "b"])
    p = [test.p for test in tests]
    assert [test.identical for test in tests] == [False, False, True, False]
    assert tests[1].p_holm == pytest.approx(2 * p[1])
    assert tests[0].p_holm == p[0] == tests[3].p_holm
    assert math.isnan(p[2])
    assert (tests[0].pairs, tests[0].above, tests[0].below) == (3, 3, 0)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_100_comparisons_without_a_difference_five_seem_to_show_one(seeds: int) -> None:
    sample = numpy.random.default_rng(1).normal(0.0, 0.2, size=(20_000, seeds))
    assert (paired_t(sample, sample).p < 0.05).mean() == pytest.approx(0.05, abs=0.006)


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


def rows(
    tmp_path: Path, metric: str, values: dict[str, list[float]], baseline: str
) -> dict[str, dict[str, str]]:
    """leaderboard.csv of encodings with these scores by seed, by encoding."""
    runs = tmp_path / "runs"
    specs = [specification(name, seed) for name in values for seed in range(len(values[name]))]
    for spec in specs:
        score = values[spec.encoding.name][spec.seed]
        folder = begin(runs, spec)
        if math.isnan(score):
            diverge(folder)
        else:
            finish(folder, {(metric, 128, "extend"): score})
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    results = write_leaderboard(make_board(collection, baseline), tmp_path / "results")
    with (results / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return {row["encoding"]: row for row in csv.DictReader(file)}


NEAR = {"a": [2.00, 2.03, 2.01], "b": [2.02, 2.02, 2.03], "c": [3.00, 3.04, 3.02], "d": [3.01, 3.03, 3.05]}
"""Neither a and b nor c and d are shown to differ."""


@pytest.mark.parametrize(
    ("metric", "ranks"), [("bits-per-byte", ["1", "1", "3", "3"]), ("accuracy", ["3", "3", "1", "1"])]
)
def test_encodings_without_a_shown_difference_share_a_rank(
    tmp_path: Path, metric: str, ranks: list[str]
) -> None:
    found = rows(tmp_path, metric, NEAR, "a")
    assert [found[name]["rank"] for name in "abcd"] == ranks


NOVELS = {
    "dape": [1.7693132, 1.7685478, 1.7686636],
    "alibi": [1.7685998, 1.7713906, 1.772276],
    "cable": [1.7811371, 1.7831244, 1.7833029],
    "xpos": [1.8000574, 1.8034001, 1.7956296],
    "rope": [2.0108036, 2.0072738, 2.0122123],
    "seqpe": [2.0543406, 2.1418637, 1.918692],
    "none": [2.1997534, 2.0864225, 2.1091923],
    "liere": [2.2093037, 2.2104709, 2.2177593],
}
"""Bits per byte of novels at 8,192 tokens of models trained for 600 updates, by seed."""


def test_noise_makes_no_rank_better(tmp_path: Path) -> None:
    found = rows(tmp_path, "bits-per-byte", NOVELS, "rope")
    ranks = {name: int(found[name]["rank"]) for name in NOVELS}
    # By intervals that overlap, seqpe (2.038 ± 0.279) had rank 1, cable (1.783 ± 0.003) 4 and rope 12.
    assert ranks["dape"] == ranks["alibi"] == 1
    assert ranks["alibi"] < ranks["cable"] <= ranks["xpos"] < ranks["rope"] <= ranks["seqpe"] <= ranks["none"]
    assert ranks["liere"] > ranks["rope"]


def test_a_difference_without_any_noise_is_no_tie(tmp_path: Path) -> None:
    values = {"a": [100.0] * 3, "b": [0.0] * 3, "c": [0.0] * 3}
    found = rows(tmp_path, "accuracy", values, "a")
    assert [found[name]["rank"] for name in "abc"] == ["1", "2", "2"]


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(2, 5))
def test_ranks_follow_the_means_and_ties_are_not_shown_to_differ(seed: int, count: int, seeds: int) -> None:
    random = numpy.random.default_rng(seed)
    means, deviations = random.normal(0, 1, (count, 1)), random.gamma(1.0, 0.5, (count, 1))
    scores = random.normal(means, deviations, (count, seeds))
    scores = scores[numpy.argsort(scores.mean(axis=1))]
    ranks = tied_ranks(scores)
    assert ranks == sorted(ranks)
    assert all(rank == ranks.index(rank) + 1 for rank in ranks)
    for row, rank in enumerate(ranks):
        before = scores[rank - 1 : row]
        assert not (holm(paired_t(scores[row] - before, before).p) < 0.05).any()


def test_differences_are_paired_by_seed_and_corrected_over_the_encodings(tmp_path: Path) -> None:
    values = {"base": [2.0, 2.5, 3.0], "b": [2.1, 2.7, 3.1], "c": [1.0, 2.6, 3.5]}
    found = rows(tmp_path, "bits-per-byte", values, "base")
    assert (found["base"]["baseline"], found["base"]["p"]) == ("", "")
    differences = {"b": [0.1, 0.2, 0.1], "c": [-1.0, 0.1, 0.5]}
    ps = []
    for name, own in differences.items():
        mean, deviation = numpy.mean(own), numpy.std(own, ddof=1)
        width = 4.302653 * deviation / math.sqrt(3)
        row = found[name]
        assert float(row["difference"]) == pytest.approx(mean, abs=1e-6)
        assert float(row["difference_low"]) == pytest.approx(mean - width, abs=1e-5)
        assert float(row["difference_high"]) == pytest.approx(mean + width, abs=1e-5)
        assert (row["pairs"], row["baseline"]) == ("3", "base")
        t = abs(mean) / (deviation / math.sqrt(3))
        ps.append(1 - t / math.sqrt(t * t + 2))
        assert float(row["p"]) == pytest.approx(ps[-1], rel=1e-4)
    assert float(found["b"]["p_holm"]) == pytest.approx(2 * ps[0], rel=1e-4)
    assert float(found["c"]["p_holm"]) == pytest.approx(ps[1], rel=1e-4)


def test_a_row_with_a_setting_of_its_own_is_compared_in_the_same_model(tmp_path: Path) -> None:
    """In a grid the baseline has several rows, and differs from itself by the grid alone."""
    runs, specs = tmp_path / "runs", []
    for block, base in (("gpt2", 2.0), ("llama", 3.0)):
        for name, difference, train in (("base", 0.0, {}), ("b", 0.25, {"learning_rate": 0.2})):
            specs.append(specification(name, model={"block": block}, train=train))
            finish(begin(runs, specs[-1]), {("bits-per-byte", 128, "extend"): base + difference})
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    results = write_leaderboard(make_board(collection, "base"), tmp_path / "results")
    with (results / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["encoding"] == "b"]
    assert [float(row["difference"]) for row in found] == [0.25, 0.25]


def test_a_diverged_seed_has_no_rank_and_no_difference(tmp_path: Path) -> None:
    found = rows(tmp_path, "bits-per-byte", {"base": [2.0, 2.1], "b": [1.0, math.nan]}, "base")
    assert [found["b"][name] for name in ("mean", "rank", "difference", "p_holm")] == [""] * 4
    assert found["b"]["diverged"] == "1"


def test_one_pair_has_a_difference_and_no_test() -> None:
    (test,) = paired_tests([(Sample("a", {0: 1.0}), Sample("b", {0: 1.5}))], [None])
    assert (test.difference, test.pairs, test.below) == (-0.5, 1, 1)
    assert math.isnan(test.half_width)
    assert math.isnan(test.p)
    assert math.isnan(test.p_holm)


def by_document(values: Sequence[Sequence[float]]) -> dict[int, ByUnit]:
    """Scores by seed and document."""
    array = numpy.array(values)
    keys, weights = numpy.arange(array.shape[1]), numpy.full(array.shape[1], 1 / array.shape[1])
    influence = (array - array.mean(1)[:, None]) * weights
    return {seed: ByUnit("document", keys, weights, own) for seed, own in enumerate(influence)}


def together(*rows: numpy.ndarray) -> ByDocument:
    """Scores by seed and document of several rows, as ranks are made from."""
    found = [list(by_document(values.tolist()).values()) for values in rows]
    return numpy.array([[one.influence for one in own] for own in found]), found[0][0].weights


def test_documents_are_paired_too() -> None:
    rng = numpy.random.default_rng(0)
    documents, seeds = rng.normal(0, 1, (1, 12)), rng.normal(0, 0.01, (3, 1))
    better = 2 + documents + seeds + rng.normal(0, 0.01, (3, 12))
    worse = better + 0.1 + rng.normal(0, 0.02, (3, 12))
    first, second = (
        Sample(name, dict(enumerate(own.mean(1).tolist())), by_document(own.tolist()))
        for name, own in (("a", better), ("b", worse))
    )
    # What all documents have in common is none of the difference's uncertainty.
    assert mean_of(first).half_width > 0.4
    (test,) = paired_tests([(first, second)], [None])
    assert test.uncertainty is not None
    assert test.uncertainty.with_text
    assert test.half_width < 0.05
    assert test.p < 0.01
    scores = numpy.array([better.mean(1), worse.mean(1)])
    assert tied_ranks(scores, together(better, worse)) == [1, 2]
    # Other documents have no pairs: then the seeds alone tell.
    other = replace(
        second,
        by_unit={seed: replace(one, keys=one.keys + 1) for seed, one in second.by_unit.items()},
    )
    (alone,) = paired_tests([(first, other)], [None])
    assert alone.uncertainty is not None
    assert not alone.uncertainty.with_text
    assert alone.difference == pytest.approx(test.difference)


def test_an_encoding_that_wins_on_one_document_alone_is_not_shown_to_be_better() -> None:
    rng = numpy.random.default_rng(1)
    base = 2 + rng.normal(0, 0.001, (3, 10))
    lucky = base.copy()
    lucky[:, 0] -= 1.0
    scores = numpy.array([lucky.mean(1), base.mean(1)])
    assert tied_ranks(scores) == [1, 2]
    assert tied_ranks(scores, together(lucky, base)) == [1, 1]
