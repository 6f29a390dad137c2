"""How far a schedule can move an encoding, and the warning where that is too little."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from pebench.command_line.main import pebench
from pebench.commands.check import _print_movement
from pebench.conformance import movement
from pebench.plugins.registry import encodings
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


SINKS = """
import torch
from torch import nn

from pebench.position_encoding import AttentionInputs, Factored, Geometry, PositionEncoding


class SinkEncoding(PositionEncoding):
    acts = "B"

    def __init__(self, geometry: Geometry, largest: float = 1e9) -> None:
        super().__init__(geometry)
        self.largest = largest
        self.values = nn.Parameter(torch.randn(geometry.heads, 5))

    def bias(self, x: AttentionInputs) -> Factored:
        values = self.values[:, x.k_table[..., 0].clamp(max=4)].transpose(0, 1)[..., None]
        return Factored(key=values.clamp(-self.largest, self.largest))
"""


@pytest.fixture
def sinks(tmp_path: Path) -> str:
    file = tmp_path / "sinks_of_a_test.py"
    file.write_text(SINKS)
    name = encodings.add_file(file)
    assert name is not None
    return name


def test_a_bias_that_first_leaves_the_values_it_starts_with_gets_a_rate_like_others(sinks: str) -> None:
    found = movement(sinks, {}, 1, NOVELS)
    assert found.after == pytest.approx(found.before, rel=0.01), "along a straight line it would take 5e4"
    assert found.better_rate is not None
    assert 0.005 <= found.better_rate <= 0.05


@pytest.mark.parametrize(("largest", "steps"), [(2.0, 600), (1e9, 2)], ids=["bounded", "two updates"])
def test_no_rate_is_named_where_none_helps_and_check_says_so(sinks: str, largest: float, steps: int) -> None:
    train = NOVELS.model_copy(update={"steps": steps, "warmup": 0})
    found = movement(sinks, {"largest": largest}, 1, train)
    assert found.falls_short
    assert found.better_rate is None
    out = StringIO()
    _print_movement(sinks, found, train, Console(file=out))
    assert "No rate is suggested, for none up to 1 gets the bias there" in " ".join(out.getvalue().split())


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
