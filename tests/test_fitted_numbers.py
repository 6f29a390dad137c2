"""Numbers that an encoding fits to text that is held out: DroPE's factor on the logits, at each extent."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pebench.command_line.main import main
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.position_encoding import Extrapolation, Geometry
from pebench.resolve import build_task, encoding_of, resolve
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.specification.run_spec import RunSpec
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder

EXTENTS = [16, 64, 128]


def _spec(
    place: Path, beta: Any = "fitted", encoding: Any = None, layers: int = 1, **options: Any
) -> RunSpec:
    task = {
        "data": str(place / "text.txt"),
        "extent": 16,
        "evaluate": EXTENTS,
        "protocols": ["non-overlapping"],
    }
    return resolve(
        encoding or {"log-n": {"beta": beta, "count": "extent"}},
        {"language-modeling": {**task, **options}},
        model={"width": 16, "heads": 2, "layers": layers},
        train={"steps": 40, "batch": 8, "learning_rate": 2e-2},
    )


def _finished(place: Path, spec: RunSpec) -> Result:
    folder = RunFolder(place / "runs" / spec.run_id)
    folder.create(spec, {})
    result = execute(folder, Execution(device="cpu", threads=1))
    assert result is not None
    return result


def _perplexities(result: Result) -> dict[int, float | None]:
    return {score.extent[0]: score.value for score in result.scores if score.metric == "perplexity"}


def test_beta_has_the_least_loss_on_the_split_that_is_not_evaluated(place: Path) -> None:
    spec = _spec(place)
    result = _finished(place, spec)
    fitted = {cost.extent[0]: dict(cost.fitted) for cost in result.cost.evaluations}
    assert fitted[16] == {}
    assert all(set(fitted[extent]) == {"beta"} for extent in EXTENTS[1:])
    log = (place / "runs" / spec.run_id / "log.txt").read_text()
    assert f"fitted to held-out examples at 64: beta {fitted[64]['beta']:.4g}" in log

    given = _spec(place, beta=fitted[64]["beta"])
    other = _finished(place, given)
    assert _perplexities(other)[64] == _perplexities(result)[64]

    task = build_task(given)
    task.prepare()
    task.hold_out()
    encoding: Any = encoding_of(given, task)
    model = task.build(encoding, 0)
    model.load_state_dict(load_file(RunFolder(place / "runs" / given.run_id).weights))
    with torch.no_grad():
        losses = []
        for encoding.beta in (fitted[64]["beta"], 0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 2.0):
            losses.append(task.held_out_loss(model.eval(), Extrapolation((64,))))
    assert losses[0] <= min(losses[1:]) + 1e-5
    assert len(set(losses[1:])) == len(losses) - 1


def test_the_least_of_a_curve_is_found_at_every_extent_anew() -> None:
    encoding: Any = build_encoding("log-n", {"beta": "fitted"}, Geometry(16, 1, 1, (8,)))
    for extent, least in ((32, 0.3), (64, 0.7), (16, 0.05)):
        found = encoding.fit(partial(_parabola, encoding, least), Extrapolation((extent,)))
        assert found == {"beta": pytest.approx(least, abs=2e-3)}
        assert encoding.beta == found["beta"]
    assert encoding.fit(partial(_parabola, encoding, -0.1), Extrapolation((32,))) == {"beta": 0.0}
    assert encoding.fit(partial(_parabola, encoding, 0.3), Extrapolation((8,))) == {}
    assert encoding.beta == 0
    given: Any = build_encoding("log-n", {"beta": 0.2}, Geometry(16, 1, 1, (8,)))
    assert given.fit(partial(_parabola, given, 0.3), Extrapolation((64,))) == {}
    assert given.beta == 0.2


def _parabola(encoding: Any, least: float) -> float:
    return 1 + (float(encoding.beta) - least) ** 2


def test_beta_is_fitted_in_a_composition_and_in_single_layers(place: Path) -> None:
    part = {"log-n": {"beta": "fitted", "count": "extent"}}
    for encoding in ({"compose": ["rope", part]}, {"layers": ["rope", part]}):
        costs = _finished(place, _spec(place, encoding=encoding, layers=2)).cost.evaluations
        assert [set(cost.fitted) for cost in costs] == [set(), {"beta"}, {"beta"}]


def test_what_has_no_text_held_out_is_refused_before_anything_is_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="task 'retrieval' has none: give it the numbers"):
        resolve({"log-n": {"beta": "fitted"}}, "retrieval")
    with pytest.raises(UserError, match="option 'beta': it is a number from 0 on, or 'fitted'"):
        resolve({"log-n": {"beta": "fittd"}}, "language-modeling")
    assert main(["check", "log-n", "--option", "beta=fitted"]) == 2
    assert "is checked with numbers given" in capsys.readouterr().err
    with pytest.raises(UserError, match="training goes beyond 8 keys"):
        _spec(place, encoding={"log-n": {"beta": "fitted", "reference": 8}})
    text = (place / "text.txt").read_text()
    (place / "train.txt").write_text(text)
    (place / "valid.txt").write_text(text)
    data = {"train": str(place / "train.txt"), "validation": str(place / "valid.txt")}
    with pytest.raises(UserError, match="test"):
        _finished(place, _spec(place, data=data))


def test_a_model_serves_longer_texts_elsewhere_once_it_is_given_the_number(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = _spec(place)
    _finished(place, spec)
    arguments = ["run", "--from", spec.run_id, "--runs", str(place / "runs"), "--set", "train.steps=0"]
    retrieval = ["--task", "retrieval", "--set", "task.evaluate=[512]", "--set", "task.examples=1"]
    assert main([*arguments, *retrieval]) == 2
    assert "give it the numbers" in capsys.readouterr().err
    given = ["--encoding", "{log-n: {beta: 0.3, count: extent}}", "--device", "cpu"]
    assert main([*arguments, *retrieval, *given]) == 0
