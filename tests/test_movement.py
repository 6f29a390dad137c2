"""How far a schedule can move an encoding, and the warning where that is too little."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from pebench.command_line.main import pebench
from pebench.commands.check import _print_movement
from pebench.conformance import movement
from pebench.specification.run_spec import Training

NOVELS = Training.model_validate({"steps": 600, "learning_rate": 1.5e-3, "warmup": 60, "final": 0.05})


def test_a_table_of_biases_moves_by_the_sum_of_the_rates() -> None:
    found = movement("t5", {}, 1, NOVELS)
    assert found.rates == pytest.approx(0.472, abs=0.001)
    (biases,) = found.parameters
    assert biases.distance == pytest.approx(found.rates, rel=0.02)
    assert found.before is not None
    assert found.after == pytest.approx(2 * found.rates + found.before, rel=0.1)
    assert found.needed == pytest.approx(7.04, abs=0.01)
    assert found.better_rate == 0.02


@pytest.mark.parametrize("rate", [0.02, 0.05])
def test_the_rate_that_it_names_is_enough(rate: float) -> None:
    train = NOVELS.model_copy(update={"encoding": NOVELS.encoding.model_copy(update={"learning_rate": rate})})
    found = movement("t5", {}, 1, train)
    assert found.better_rate is None
    assert found.after is not None
    assert found.after > found.needed


@pytest.mark.parametrize(("name", "axes"), [("kerple", 1), ("fire", 1), ("fox", 1), ("dape", 1)])
def test_what_a_distance_or_a_network_multiplies_moves_far_enough(name: str, axes: int) -> None:
    assert movement(name, {}, axes, NOVELS).better_rate is None


def test_a_long_schedule_is_passed_through_in_larger_steps() -> None:
    long = Training.model_validate({"steps": 60_000, "learning_rate": 1.5e-5, "warmup": 6000, "final": 0.05})
    found = movement("t5", {}, 1, long)
    assert found.rates == pytest.approx(0.472, rel=0.01)
    assert found.better_rate is not None


@pytest.mark.parametrize(("name", "parameters"), [("none", 0), ("rope", 0), ("alibi", 0), ("learned", 1)])
def test_without_a_learned_bias_there_is_nothing_to_warn_of(name: str, parameters: int) -> None:
    found = movement(name, {}, 1, NOVELS)
    assert (found.before, found.after, found.better_rate) == (None, None, None)
    assert len(found.parameters) == parameters


def test_it_draws_from_nobody_elses_numbers() -> None:
    before = torch.get_rng_state()
    assert movement("t5", {}, 1, NOVELS) == movement("t5", {}, 1, NOVELS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("priced_once")
def test_check_warns_and_the_encoding_is_sound_all_the_same() -> None:
    schedule = ["--set", "train.steps=600", "--set", "train.learning_rate=1.5e-3"]
    done = CliRunner().invoke(pebench, ["check", "t5", *schedule])
    told = " ".join(done.output.split())
    assert done.exit_code == 0, done.output
    assert "In 600 updates at 0.0015 the rates sum to 0.495." in told
    assert "train.encoding.learning_rate=0.02 or more, or tune it" in told
    assert "t5 is sound." in told


def test_check_says_nothing_of_parameters_that_it_did_not_update() -> None:
    said = {}
    for name in ("learned", "t5"):
        out = StringIO()
        _print_movement(name, movement(name, {}, 1, NOVELS), NOVELS, Console(file=out))
        said[name] = out.getvalue()
    assert said["learned"] == ""
    assert "the parameters move by" in " ".join(said["t5"].split())


def test_check_takes_settings_of_the_schedule_alone() -> None:
    done = CliRunner().invoke(pebench, ["check", "t5", "--set", "task.extent=64"])
    assert "'task.extent' is no part of a schedule" in str(done.exception) + done.output
