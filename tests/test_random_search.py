"""A tuned sweep may draw its candidates: the same for every encoding, and fewer are the beginning of more."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.leaderboard.plots.sensitivity import log_axis, panel_axes
from pebench.leaderboard.tuning import TunedRow
from pebench.store.records import MetricRecord
from pebench.store.tuned_choices import Candidate, Choice, Chosen
from pebench.sweeping.candidates import Distribution, drawn
from pebench.sweeping.cell import Cell

RATES = {"low": 1e-4, "high": 1e-2, "log": True}
CELL = Cell("rope", "language-modeling")


def settings(place: Path, values: dict[str, Any], encodings: Any = ("rope",), **tune: Any) -> list[Any]:
    """The settings of the candidates, by encoding."""
    tune = {"settings": values, "candidates": 4, **tune}
    sweep = load(place, encodings=list(encodings), tune=tune)
    return [[candidate.settings for candidate in choice.candidates] for choice in sweep.choices]


def test_every_encoding_tries_the_same_draws(place: Path) -> None:
    none, rope = settings(place, {"train.learning_rate": RATES}, ["none", "rope"])
    assert none == rope
    # Golden, for runs are found again by them.
    assert [one["train.learning_rate"] for one in rope] == [0.00896, 0.000877, 0.000321, 0.00967]
    assert settings(place, {"train.learning_rate": RATES}, seed=0) == [rope]
    assert settings(place, {"train.learning_rate": RATES}, seed=1) != [rope]


def test_fewer_candidates_are_the_beginning_of_more_and_a_setting_leaves_the_others(place: Path) -> None:
    values: dict[str, Any] = {"train.learning_rate": RATES, "train.batch": {"low": 2, "high": 4}}
    (few,) = settings(place, values, candidates=3)
    (more,) = settings(place, values, candidates=9)
    assert more[:3] == few
    (alone,) = settings(place, {"train.learning_rate": RATES}, candidates=9)
    assert [one["train.learning_rate"] for one in more] == [one["train.learning_rate"] for one in alone]
    (turned,) = settings(place, dict(reversed(values.items())), candidates=9)
    assert turned == more


def test_more_candidates_keep_the_trials(place: Path) -> None:
    tune = {"settings": {"train.learning_rate": RATES}}
    few = load(place, encodings=["rope"], tune={**tune, "candidates": 2})
    more = load(place, encodings=["rope"], tune={**tune, "candidates": 3})
    assert more.trials[:2] == few.trials
    listed = [candidate.settings["train.learning_rate"] for candidate in few.choices[0].candidates]
    same = load(place, encodings=["rope"], tune={"settings": {"train.learning_rate": listed}})
    assert [choice.key for choice in same.choices] == [choice.key for choice in few.choices]


def test_lists_are_drawn_from_as_well_and_each_candidate_once() -> None:
    values: dict[str, Any] = {"train.schedule": ["cosine", "linear", "constant"], "train.batch": [2, 4]}
    found = drawn(values, 6, 0, CELL)
    assert len({json.dumps(one) for one in found}) == 6
    with pytest.raises(UserError, match="asks for 7 candidates, but rope has no more than 6 different ones"):
        drawn(values, 7, 0, CELL)


@pytest.mark.parametrize(
    ("path", "values", "kind"),
    [
        ("train.batch", Distribution(low=2, high=512, log=True), int),
        ("train.range", Distribution(low=16.0, high=64.0), int),
        ("train.weight_decay", Distribution(low=0, high=1), float),
        ("train.encoding.clip", Distribution(low=0, high=1), float),
        ("model.width", Distribution(low=16, high=64), int),
        ("encoding.base", Distribution(low=500, high=50000), float),
        ("encoding.no_such", Distribution(low=1, high=5000), int),
        ("encoding.no_such", Distribution(low=1, high=5000.0), float),
    ],
)
def test_whole_numbers_are_drawn_where_the_option_takes_no_others(
    path: str, values: Distribution, kind: type
) -> None:
    for one in drawn({path: values}, 20, 0, CELL):
        assert type(one[path]) is kind
        assert values.low <= one[path] <= values.high


@given(
    low=st.floats(1e-300, 1e6, allow_subnormal=False),
    factor=st.floats(1.001, 1e6, allow_subnormal=False),
    log=st.booleans(),
    share=st.floats(0, 1, exclude_max=True, allow_subnormal=False),
)
def test_a_draw_lies_between_the_ends_and_is_near_its_quantile(
    low: float, factor: float, log: bool, share: float
) -> None:
    high = low * factor
    value = Distribution(low=low, high=high, log=log).at(share, False)
    assert low <= value <= high
    exact = low * factor**share if log else low + share * (high - low)
    assert abs(value - exact) <= 0.005 * (min(high - low, exact) if log else high - low) * 1.001


def test_draws_are_spread_evenly_over_the_logarithm_and_over_whole_numbers() -> None:
    rates = [Distribution(**RATES).at((n + 0.5) / 100, False) for n in range(100)]  # type: ignore[arg-type]
    assert sum(rate < 1e-3 for rate in rates) == 50
    assert all(rate == float(f"{rate:.3g}") for rate in rates)
    whole = [Distribution(low=1, high=4).at((n + 0.5) / 100, True) for n in range(100)]
    assert [whole.count(n) for n in range(1, 5)] == [25] * 4
    halves = [Distribution(low=1, high=2, log=True).at((n + 0.5) / 1000, True) for n in range(1000)]
    assert halves.count(1) == round(1000 * math.log(3) / math.log(5))


@pytest.mark.parametrize(
    ("values", "tune", "sentence"),
    [
        (RATES, {"candidates": None}, "so 'candidates' says how many are drawn, as 'candidates: 8'."),
        (RATES, {"candidates": 1}, "should be greater than or equal to 2, not 1."),
        (RATES, {"candidates": 10**6}, "should be less than or equal to 1000, not 1000000."),
        (RATES, {"seed": -1}, "should be greater than or equal to 0, not -1."),
        ({"low": 1, "high": 1}, {}, "'low' lies below 'high', but 1 does not lie below 1."),
        ({"low": 0, "high": 1, "log": True}, {}, "a logarithm needs a 'low' above 0, not 0."),
        ({"low": "a", "high": 1}, {}, "input should be a number from -1e+15 to 1e+15, not 'a'."),
        ({"low": 0, "high": float("inf")}, {}, "input should be a number from -1e+15 to 1e+15, not inf."),
        ({"low": 0, "high": 10**400}, {}, "input should be a number from -1e+15 to 1e+15, not 1000"),
        ({"low": True, "high": 2}, {}, "input should be a number from -1e+15 to 1e+15, not True."),
        ({"low": 1e-4}, {}, "a distribution needs the option 'high'."),
        ({"min": 1e-4, "max": 1}, {}, "unknown option 'min' of a distribution: there are 'high', 'log' and"),
        (1e-4, {}, "write a list of values, or a distribution as {low: 1e-4, high: 1e-2, log: true}, not"),
        ([], {}, "should hold at least 1 entry, not 0."),
        ([1e-3, 1e-2], {"candidates": 3}, "asks for 3 candidates, but rope has no more than 2"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    place: Path, values: Any, tune: Any, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = {"settings": {"train.learning_rate": values}, "candidates": 4, **tune}
    write(place, tiny(place, encodings=["rope"], tune=tune))
    assert main(["submit", "tiny.yaml", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_whole_numbers_need_whole_ends(place: Path) -> None:
    with pytest.raises(UserError, match=r"'train.batch' takes whole numbers, .* not 1.5 and 4\."):
        settings(place, {"train.batch": {"low": 1.5, "high": 4}})


def test_one_submit_tries_what_was_drawn_and_marks_its_ends(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = {"settings": {"train.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}, "candidates": 2}
    write(place, tiny(place, tune=tune))
    assert main(["submit", "tiny.yaml"]) == 0
    chosen = [json.loads(path.read_text()) for path in place.glob("runs/.choices/*/chosen.json")]
    assert [one["edges"] for one in chosen] == [["train.learning_rate"]] * 2
    capsys.readouterr()
    assert main(["submit", "tiny.yaml"]) == 0
    assert "0 of 6 cells to start, 6 finished before" in capsys.readouterr().out
    write(place, tiny(place, tune={**tune, "candidates": 3}))
    assert main(["submit", "tiny.yaml", "--dry-run"]) == 0
    assert "4 of 8 cells to start, 4 finished before" in capsys.readouterr().out


def tuned_row(tried: list[dict[str, Any]]) -> TunedRow:
    """A choice among candidates, of which the first is the best."""
    choice = Choice(
        key="rope-0123456789",
        encoding="rope",
        task="t",
        metric="m",
        extent=(16,),
        seeds=(0,),
        reported=(0,),
        candidates=tuple(Candidate(settings=one, trials=(str(n),), cells=()) for n, one in enumerate(tried)),
    )
    scores = tuple((float(n),) for n in range(len(tried)))
    record = MetricRecord(unit="", higher_is_better=False)
    edges = choice.edges(tried[0])
    chosen = Chosen(
        key=choice.key,
        candidate=0,
        settings=tried[0],
        why="",
        record=record,
        scores=scores,
        edges=edges,
        cells={},
    )
    return TunedRow(choice, chosen)


def test_draws_of_several_settings_have_a_panel_each_and_a_grid_has_one() -> None:
    grid = tuned_row([{"a": a, "b": b} for a in (1, 2) for b in (1, 2, 3)])
    draws = tuned_row([{"a": 0.1, "b": 3}, {"a": 0.2, "b": 1}, {"a": 0.4, "b": 3}])
    alone = tuned_row([{"a": 0.1}, {"a": 0.2}])
    assert [panel_axes(row) for row in (grid, draws, alone)] == [["b"], ["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("numbers", "labels"), [([1.0, 3.0, 10.0], 3), ([0.5, 0.51, 0.52, 5.0], 4), ([1.1, 1.2, 7], 5)]
)
def test_numbers_that_stand_too_close_have_round_labels_below_them(numbers: list[float], labels: int) -> None:
    figure = Figure()
    axes = figure.subplots()
    log_axis(axes, numbers)
    axes.plot(numbers, numbers)
    low, high = axes.get_xlim()
    shown = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert len(shown) == labels
    assert (shown == ["0.5", "1", "2", "5"]) == (labels == 4)


def test_a_remark_names_the_ends_of_many_values() -> None:
    few, many = (tuned_row([{"a": n / 10} for n in range(1, count)]) for count in (4, 9))
    assert [next(row.remarks("rope")).partition("tried ")[2] for row in (few, many)] == [
        "(0.1, 0.2, 0.3), so the best may lie beyond.",
        "(8 values, the numbers from 0.1 to 0.8), so the best may lie beyond.",
    ]
