"""Tests and ranks that say no more than the numbers do."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy
import pytest
from run_folders import begin, diverge, finish, record_sweep, specification

from pebench.leaderboard import from_runs, make_board, write_leaderboard
from pebench.leaderboard.comparison import holm, paired


def test_holm_of_a_hand_computed_example() -> None:
    # In order 0.01·3, 0.03·2 and 0.04·1, of which the last may not be below the one before it.
    corrected = holm([0.01, 0.04, math.nan, 0.03])
    assert corrected == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)


def test_holm_never_passes_one_and_of_nothing_is_nothing() -> None:
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert numpy.isnan(holm([math.nan])).all()


def test_the_paired_test_of_a_textbook_sample() -> None:
    # Differences 1, 2 and 3: t = 2·√3, and with two degrees of freedom p = 1 − t/√(t² + 2).
    told = paired(2.0, 1.0, 3)
    t = 2 * math.sqrt(3)
    assert float(told.p) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert float(told.half_width) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_where_nothing_varies_there_is_no_p_unless_nothing_differs() -> None:
    told = paired([0.3, 0.0, 0.3], [0.0, 0.0, math.nan], [3, 3, 1])
    assert told.p == pytest.approx([math.nan, 1.0, math.nan], nan_ok=True)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_100_comparisons_without_a_difference_five_seem_to_show_one(seeds: int) -> None:
    sample = numpy.random.default_rng(1).normal(0.0, 0.2, size=(20_000, seeds))
    told = paired(sample.mean(axis=1), sample.std(axis=1, ddof=1), numpy.full(len(sample), seeds))
    assert (told.p < 0.05).mean() == pytest.approx(0.05, abs=0.006)


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


NEAR = {"a": [2.00, 2.01, 2.02], "b": [2.02, 2.03, 2.04], "c": [3.00, 3.01, 3.02], "d": [3.01, 3.02, 3.03]}
"""The intervals of a and b overlap, and those of c and d; each is 0.0248 to both sides."""


@pytest.mark.parametrize(
    ("metric", "ranks"), [("bits-per-byte", ["1", "1", "3", "3"]), ("accuracy", ["3", "3", "1", "1"])]
)
def test_encodings_whose_intervals_overlap_share_a_rank(
    tmp_path: Path, metric: str, ranks: list[str]
) -> None:
    found = rows(tmp_path, metric, NEAR, "a")
    assert [found[name]["rank"] for name in "abcd"] == ranks


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


def test_a_diverged_seed_has_no_rank_and_no_difference(tmp_path: Path) -> None:
    found = rows(tmp_path, "bits-per-byte", {"base": [2.0, 2.1], "b": [1.0, math.nan]}, "base")
    assert [found["b"][name] for name in ("mean", "rank", "difference", "p_holm")] == [""] * 4
    assert found["b"]["diverged"] == "1"
