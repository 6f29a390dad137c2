"""What `pebench compare` says of two encodings, two runs or two sweeps, and on what evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from specimens.run_folders import (
    METRICS,
    Scores,
    begin,
    diverge,
    finish,
    record_sweep,
    specification,
    text_scores,
)

from pebench.command_line.main import main
from pebench.leaderboard import from_runs, make_board
from pebench.leaderboard.comparison import ComparedScore, Comparison, compare, verdict
from pebench.leaderboard.operands import find_operands
from pebench.leaderboard.paired_test import PairedTest
from pebench.specification.run_spec import RunSpec


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


INSIDE = {"rope": (1.0, 1.2, 1.1), "alibi": (2.0, 2.1, 2.3)}
OUTSIDE = {"rope": (3.1, 3.0, 3.4), "alibi": (3.0, 3.1, 3.1)}


def made(runs: Path, names: Sequence[str] = ("rope", "alibi"), seeds: int = 3) -> None:
    """Finished runs of one sweep, with the scores above."""
    specs = [specification(name, seed) for name in names for seed in range(seeds)]
    for spec in specs:
        name = spec.encoding.name
        finish(begin(runs, spec), text_scores(INSIDE[name][spec.seed], OUTSIDE[name][spec.seed]))
    record_sweep(runs, specs)


def compared(runs: Path, first: str, second: str, *metrics: str, sweep: str | None = None) -> Comparison:
    collection, operands = find_operands(runs, (first, second), sweep)
    return compare(collection, operands, metrics)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, its line breaks undone."""
    return " ".join(capsys.readouterr().out.split())


def test_pairs_intervals_and_corrections_are_those_of_a_hand_computed_example(runs: Path) -> None:
    made(runs)
    (pair,) = compared(runs, "rope", "alibi").pairs
    inside, outside = pair.scores
    # Differences of −1, −0.9 and −1.2: mean −1.03333, deviation 0.152753, t(0.975, 2) = 4.302653.
    assert inside.test.difference == pytest.approx(-1.033333, abs=1e-6)
    assert inside.test.half_width == pytest.approx(4.302653 * 0.152753 / math.sqrt(3), abs=1e-5)
    # With two degrees of freedom p = 1 − t/√(t² + 2).
    t = 1.033333 / (0.152753 / math.sqrt(3))
    assert inside.test.p == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-4)
    assert (inside.test.pairs, inside.won, inside.shown) == (3, 3, 1)
    # Differences of 0.1, −0.1 and 0.3: t = √3/2.
    assert outside.test.p == pytest.approx(1 - math.sqrt(0.75 / 2.75), rel=1e-6)
    assert (outside.test.pairs, outside.won, outside.ahead, outside.shown) == (3, 1, -1, 0)
    # Holm: the smaller of two is doubled, the larger stays.
    assert inside.test.p_holm == pytest.approx(2 * inside.test.p)
    assert outside.test.p_holm == pytest.approx(outside.test.p)
    assert pair.run_ids[0] == [specification("rope", seed).run_id for seed in range(3)]


def test_what_both_have_in_common_tells_one_table_from_the_next(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the model around them, in a sweep that crosses encodings with models."""
    hosts: list[dict[str, object]] = [{"block": "gpt2"}, {"block": "llama", "qk_norm": True}]
    specs = [
        specification(name, seed, model=model)
        for name in ("rope", "alibi")
        for model in hosts
        for seed in range(2)
    ]
    for spec in specs:
        finish(begin(runs, spec), text_scores(INSIDE[spec.encoding.name][spec.seed], 3.0))
    record_sweep(runs, specs)
    assert main(["compare", "rope", "alibi", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "model.block=gpt2 · language-modeling" in said
    assert "model.block=llama · language-modeling" in said


def test_the_answer_turns_round_with_the_question(runs: Path) -> None:
    made(runs)
    first, second = compared(runs, "rope", "alibi"), compared(runs, "alibi", "rope")
    assert first.verdict.startswith(
        "In part: rope is better than alibi at 128, and no difference is shown at 512"
    )
    assert second.verdict.startswith(
        "No: rope is better than alibi at 128, and no difference is shown at 512"
    )
    for ours, theirs in zip(first.pairs[0].scores, second.pairs[0].scores, strict=True):
        assert (ours.test.difference, ours.shown, ours.test.p_holm) == (
            -theirs.test.difference,
            -theirs.shown,
            theirs.test.p_holm,
        )


def row(p_holm: float, difference: float, pairs: int = 3, extent: int = 128) -> ComparedScore:
    test = PairedTest(0.0, 0.0, difference, 0.1, p_holm, p_holm, pairs)
    return ComparedScore("accuracy", METRICS["accuracy"], (extent,), test)


@pytest.mark.parametrize(
    ("rows", "answer"),
    [
        (
            [row(0.01, 1.0), row(0.01, 2.0, extent=256)],
            "Yes: a is better than b everywhere; at the level of 5 %",
        ),
        ([row(0.01, -1.0)], "No: b is better than a everywhere; "),
        (
            [row(0.01, 1.0), row(0.01, -1.0, extent=256), row(0.5, 1.0, extent=512)],
            "It depends: a is better at 128 and b at 256, and no difference is shown at 512; ",
        ),
        (
            [row(0.05, 1.0)],
            "Not shown: no difference between a and b is more than chance, at the level of 5 %",
        ),
        ([row(math.nan, 1.0, pairs=1)], "Not shown: one pair of seeds says nothing about chance; a is ahead"),
        ([row(math.nan, math.nan, pairs=0)], "Not known: "),
        (
            [row(0.01, 1.0), row(0.01, -1.0), row(0.5, 1.0)],
            "It depends: a is better in 1 of 3 comparisons and b in",
        ),
    ],
)
def test_a_verdict_is_one_sentence_that_says_no_more_than_was_found(
    rows: list[ComparedScore], answer: str
) -> None:
    said = verdict(("a", "b"), rows)
    assert said.startswith(answer)
    assert said.count(". ") == 0


def test_a_diverged_seed_leaves_no_difference_and_is_named(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(runs, seeds=2)
    third = [specification(name, 2) for name in ("rope", "alibi")]
    finish(begin(runs, third[0]), text_scores(1.1, 3.4))
    diverge(begin(runs, third[1]), step=20)
    record_sweep(runs, [specification(name, seed) for name in ("rope", "alibi") for seed in range(3)])
    assert main(["compare", "rope", "alibi", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert f"B: seed 2 diverged at step 20 ({third[1].run_id})." in said
    assert "Not known: nowhere have rope and alibi the same seeds" in said


def test_two_runs_of_one_seed_are_one_pair(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(runs)
    first, second = (specification(name, 1).run_id for name in ("rope", "alibi"))
    assert main(["compare", first, second[:-2], "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "128 (trained) 1.200 2.100 −0.900 1 of 1" in said
    assert f"one pair of seeds says nothing about chance; {first} is ahead everywhere" in said


def test_runs_without_a_common_seed_are_no_pair(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(runs)
    first, second = specification("rope", 0).run_id, specification("alibi", 1).run_id
    assert main(["compare", first, second, "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "A and B have no seed in common" in said
    assert "Not known: " in said


def longer(name: str, seed: int) -> RunSpec:
    return specification(name, seed, train={"steps": 80})


def test_two_sweeps_are_compared_by_encoding_and_what_else_differs_is_told(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(runs)
    specs = [longer(name, seed) for name in ("rope", "alibi", "none") for seed in range(3)]
    for spec in specs:
        finish(begin(runs, spec), text_scores(0.5 + spec.seed / 9, 2.5 + spec.seed**2 / 9))
    record_sweep(runs, specs, "longer")
    found = compared(runs, "quickstart", "longer")
    assert [pair.groups[0].encoding for pair in found.pairs] == ["alibi", "rope"]
    assert sum(not math.isnan(score.test.p_holm) for pair in found.pairs for score in pair.scores) == 4
    assert main(["compare", "quickstart", "longer", "--runs", str(runs)]) == 0
    assert "They differ in train.steps too: 40 and 80." in told(capsys)


def test_where_both_are_the_same_runs_nothing_is_tested(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification("rope", seed) for seed in range(3)]
    for spec in specs:
        scores: Scores = {
            ("bits-per-byte", 128, "extend"): 2.0 + spec.seed,
            ("bits-per-byte", 512, "extend"): 4.0 + spec.seed,
            ("bits-per-byte", 512, "yarn"): 3.0 + spec.seed * 1.1,
        }
        finish(begin(runs, spec), scores)
    record_sweep(runs, specs)
    (pair,) = compared(runs, "rope, yarn", "rope").pairs
    inside, outside = pair.scores
    assert inside.test.identical
    assert (inside.test.first, inside.test.second) == (3.0, 3.0)
    assert math.isnan(inside.test.difference)
    assert math.isnan(inside.test.p_holm)
    assert outside.test.first == pytest.approx(4.1)
    assert outside.test.second == 5.0
    assert outside.won == 3
    assert outside.test.p_holm == outside.test.p
    assert main(["compare", "rope, yarn", "rope", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "128 (trained) 3.000 3.000 same runs" in said
    assert "At 128 A and B are the same runs: nothing is tested there" in said
    assert "Yes: rope, yarn is better than rope wherever that is tested" in said
    assert "Holm's correction over 1 comparison," in said


def test_an_extrapolation_with_commas_in_its_options_is_an_operand(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in range(3)]
    method = "yarn(beta_fast=16, factor=4)"
    for spec in specs:
        scores: Scores = {
            ("bits-per-byte", 128, "extend"): 2.0 + spec.seed,
            ("bits-per-byte", 512, "extend"): 4.0 + spec.seed,
            ("bits-per-byte", 512, method): 3.0 + spec.seed * 1.1,
        }
        finish(begin(runs, spec), scores)
    record_sweep(runs, specs)
    (pair,) = compared(runs, f"rope, {method}", "rope").pairs
    assert pair.scores[1].test.first == pytest.approx(4.1)


def test_leaderboard_and_compare_give_one_p_for_one_pair(runs: Path) -> None:
    made(runs)
    (collection,) = from_runs(runs, ["quickstart"])
    rows = make_board(collection, "alibi").summary
    rows = rows[rows["group"] == specification("rope").group]
    (pair,) = compared(runs, "rope", "alibi").pairs
    told = [(s.test.difference, s.test.half_width, s.test.p, s.test.pairs) for s in pair.scores]
    columns = ["difference", "difference_half_width", "p", "pairs"]
    assert list(rows[columns].itertuples(index=False, name=None)) == told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rop", "alibi"], "unknown encoding, sweep or run 'rop': did you mean 'rope'"),
        (["rope", "alibbi", "--sweep", "quickstart"], "unknown encoding 'alibbi' of sweep 'quickstart'"),
        (["rope", "alibi", "--sweep", "quick"], "unknown sweep 'quick': did you mean 'quickstart'?"),
        (["rope", "alibi", "--metric", "bits-per-bite"], "unknown metric 'bits-per-bite': did you mean"),
        (["rope", "quickstart"], "'rope' and 'quickstart' are not of one kind"),
        (["rope", "rope"], "'rope' and 'rope' are the same runs: there is nothing to compare."),
        (["RUN0", "RUN1"], "are seeds of one cell: there is nothing to compare."),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    made(runs)
    ids = {f"RUN{seed}": specification("rope", seed).run_id for seed in (0, 1)}
    arguments = [ids.get(argument, argument) for argument in arguments]
    assert main(["compare", *arguments, "--runs", str(runs)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_encodings_of_several_sweeps_want_a_choice(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(runs)
    specs = [longer(name, 0) for name in ("rope", "alibi")]
    for spec in specs:
        finish(begin(runs, spec), text_scores(1.0, 2.0))
    record_sweep(runs, specs, "longer")
    assert main(["compare", "rope", "alibi", "--runs", str(runs)]) == 2
    assert "of the sweeps 'longer' and 'quickstart': say which with --sweep" in capsys.readouterr().err
    assert main(["compare", "rope", "alibi", "--runs", str(runs), "--sweep", "longer"]) == 0


def test_equivalence_is_two_one_sided_tests_with_a_correction_of_their_own(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi") for seed in range(4)]
    for spec in specs:
        shift = {"rope": 0.0, "alibi": (0.002, -0.001, 0.001, 0.0)[spec.seed]}[spec.encoding.name]
        finish(begin(runs, spec), text_scores(1.0 + spec.seed / 10 + shift, 2.0 - 40 * shift))
    record_sweep(runs, specs)
    collection, operands = find_operands(runs, ("rope", "alibi"))
    found = compare(collection, operands, margin=0.01)
    inside, outside = found.pairs[0].scores
    differences = [0.002, -0.001, 0.001, 0.0]
    p = max(
        stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue,
        stats.ttest_1samp(differences, 0.01, alternative="less").pvalue,
    )
    assert inside.p_equivalent == pytest.approx(2 * p, rel=1e-6)
    assert (inside.equal, outside.equal) == (True, False)
    assert found.verdict.endswith("Equal within 0.01 they are shown to be at 128.")
    assert inside.percent == pytest.approx(-100 * 0.0005 / 1.1505, rel=1e-4)
    assert inside.deviations == pytest.approx(-0.0005 / np.std(differences, ddof=1), rel=1e-4)
    assert main(["compare", "rope", "alibi", "--margin", "0.01", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "The intervals come from seeds alone" in said
    assert "Power: 4 seeds show a difference of" in said
    needed = [
        score.test.uncertainty.seeds_needed(0.01) for score in (inside, outside) if score.test.uncertainty
    ]
    low, high = sorted(count for count in needed if count is not None)
    assert f"To show 0.01 bits/byte takes {low} to {high} seeds." in said
    assert main(["compare", "rope", "alibi", "--margin", "0", "--runs", str(runs)]) == 2


def test_large_differences_that_could_be_shown_have_no_exponents(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi") for seed in range(3)]
    for spec in specs:
        score = (5000.0, 5300.0, 5900.0)[spec.seed] * (1.2 if spec.encoding.name == "alibi" else 1.0)
        finish(begin(runs, spec), text_scores(score, score))
    record_sweep(runs, specs)
    assert main(["compare", "rope", "alibi", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert re.search(r"Power: 3 seeds show a difference of \d+ bits/byte", said)
    assert "e+0" not in said


def test_a_constant_difference_is_said_to_have_no_test(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi") for seed in range(3)]
    for spec in specs:
        score = (7.9, 8.3, 16.4)[spec.seed] - 0.001 * (spec.encoding.name == "alibi")
        finish(begin(runs, spec), text_scores(score, score))
    record_sweep(runs, specs)
    (pair,) = compared(runs, "rope", "alibi").pairs
    assert all(math.isnan(score.test.p) for score in pair.scores)
    assert main(["compare", "rope", "alibi", "--runs", str(runs)]) == 0
    said = told(capsys)
    assert "At 128 and 512 all seeds have the same difference: without a spread there is no test." in said
    assert "Power" not in said
