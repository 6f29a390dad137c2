"""A run that goes on where a shorter one ended is the run that is trained from the first update."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from specimens.tiny_sweeps import tiny
from test_learning_curves import begun, numbers, same_weights

from pebench.command_line.main import main
from pebench.resolve import resolve
from pebench.running.execution import Execution
from pebench.running.optimisation import learning_rate
from pebench.running.run import execute
from pebench.specification.run_spec import Training
from pebench.store.run_folder import RunFolder

EXECUTION = Execution(device="cpu", threads=1, log_every=2, checkpoint_every=3600)
STABLE = {"schedule": "warmup-stable-decay", "warmup": 2, "decay": 2}


def updates(folder: RunFolder) -> int:
    """How many were made here, by the log."""
    line = next(line for line in folder.log.read_text().splitlines() if "from step" in line)
    return folder.spec().train.steps - int(line.rpartition(" ")[2])


@pytest.mark.parametrize(
    ("training", "kept"),
    [
        ({"schedule": "constant"}, 6),
        (STABLE, 4),
        ({**STABLE, "optimiser": "lamb"}, 4),
        ({"schedule": "constant", "keep_weights": True}, 6),
    ],
    ids=["constant", "stable", "lamb", "weights"],
)
def test_a_longer_run_goes_on(place: Path, training: dict[str, Any], kept: int) -> None:
    seqpe = {"seqpe": {"positions": 200, "pivots": 16, "draws": 16}}
    short = begun(place, "runs", seqpe, **training)
    execute(short, EXECUTION)
    assert [path.name for path in short.continuation.iterdir()] == [f"step-{kept:08d}"]
    long, whole = (begun(place, name, seqpe, steps=12, **training) for name in ("runs", "whole"))
    execute(long, EXECUTION)
    execute(whole, EXECUTION)
    assert numbers(long) == numbers(whole)
    same_weights(long.weights, whole.weights)
    assert updates(long) == 12 - kept
    assert updates(whole) == 12
    assert long.provenance()["continues"] == {"run": short.run_id, "step": kept}
    assert "continues" not in whole.provenance()
    if training.get("keep_weights"):
        for step in (2, 4, 6, 8, 10):
            same_weights(long.weights_after(step), whole.weights_after(step))


def test_what_does_not_begin_alike_begins_anew(place: Path) -> None:
    short = begun(place, "runs", schedule="constant", plain=True)
    execute(short, EXECUTION)
    for training in (
        {"schedule": "constant", "learning_rate": 2e-2, "plain": True},
        # Its first moments were not looked at there.
        {"schedule": "constant", "evaluate_every": 3},
        {"plain": True},
    ):
        long = begun(place, "runs", steps=12, **training)
        execute(long, EXECUTION)
        assert updates(long) == 12
        shutil.rmtree(long.path)
    shutil.rmtree(short.continuation / "step-00000006")
    long = begun(place, "runs", steps=12, schedule="constant", plain=True)
    execute(long, EXECUTION)
    assert updates(long) == 12


def test_a_schedule_whose_rates_depend_on_the_number_of_updates_keeps_no_state(place: Path) -> None:
    for schedule in ("cosine", "linear"):
        folder = begun(place, "runs", schedule=schedule)
        execute(folder, EXECUTION)
        assert not folder.continuation.exists()
        assert folder.spec().beginning is None


def test_the_rate_warms_up_stays_and_comes_down() -> None:
    training = Training(
        steps=10, learning_rate=1.0, final=0.0, schedule="warmup-stable-decay", warmup=2, decay=4
    )
    rates = [learning_rate(training, step) for step in range(10)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    longer = training.model_copy(update={"steps": 100})
    assert [learning_rate(longer, step) for step in range(6)] == rates[:6]


def test_runs_of_one_beginning_are_told_apart_by_their_updates_alone() -> None:
    def spec(**train: Any) -> Any:
        return resolve("rope", "language-modeling", train={"schedule": "constant", **train})

    short, long = spec(steps=10), spec(steps=20, evaluate_every=5)
    assert short.run_id != long.run_id
    assert short.beginning == long.beginning is not None
    assert spec(steps=20, learning_rate=2.0).beginning != short.beginning


def _trained(place: Path, **train: Any) -> str:
    written = tiny(place, train={"steps": 6, "batch": 2, **train}, encodings=["rope"])
    (place / "tiny.yaml").write_text(yaml.safe_dump(written))
    assert main(["submit", "tiny.yaml", "--cluster", "inline"]) == 0
    return next(path.parent.name for path in (place / "runs").glob("*/spec.json"))


def test_longer_on_the_command_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _trained(place, schedule="constant", evaluate_every=3)
    asked = ["run", "--longer", run, "--threads", "1", "--device", "cpu", "--set"]
    assert main([*asked, "train.steps=9"]) == 0
    (other,) = {path.parent.name for path in (place / "runs").glob("*/result.json")} - {run}
    longer = RunFolder(place / "runs" / other)
    assert updates(longer) == 3
    assert [moment.step for moment in longer.curve()] == [3, 6, 9]
    assert str(longer.path.name) in capsys.readouterr().out
    for more, sentence in (
        (["train.steps=6"], "has 6 updates: name more of them with --set train.steps=NUMBER"),
        (["train.step=12"], "unknown option 'step' of 'train': did you mean"),
        (["train.steps=9", "--set", "train.batch=3"], "it is another run than"),
        (["train.steps=9", "--seed", "3"], "--longer takes all of the run but its number of updates"),
    ):
        assert main([*asked, *more]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    shutil.rmtree(place / "runs" / run / "continuation")
    assert main([*asked, "train.steps=12"]) == 2
    assert f"run '{run}' has kept no state to go on from" in capsys.readouterr().err


def test_a_schedule_that_makes_it_another_run_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _trained(place)
    capsys.readouterr()
    assert main(["run", "--longer", run, "--set", "train.steps=9"]) == 2
    sentence = capsys.readouterr().err
    assert "has the schedule 'cosine', whose every rate depends on the number of updates" in sentence
    assert sentence.count("\n") == 1
    assert len(list((place / "runs").glob("*/spec.json"))) == 1


def test_a_sweep_of_more_updates_goes_on_from_that_of_fewer(place: Path) -> None:
    short = _trained(place, **STABLE, evaluate_at=[4])
    written = tiny(
        place, train={"steps": 10, "batch": 2, **STABLE, "evaluate_at": [4, 8]}, encodings=["rope"]
    )
    (place / "more.yaml").write_text(yaml.safe_dump({**written, "name": "more"}))
    assert main(["submit", "more.yaml", "--cluster", "inline"]) == 0
    (longer,) = {path.parent.name for path in (place / "runs").glob("*/spec.json")} - {short}
    assert updates(RunFolder(place / "runs" / longer)) == 6


def test_from_keeps_data_and_extents(place: Path) -> None:
    run = _trained(place)
    begun_with = RunFolder(place / "runs" / run).spec()
    assert main(["run", "--from", run, "--set", "train.steps=2", "--threads", "1"]) == 0
    (other,) = {path.parent.name for path in (place / "runs").glob("*/spec.json")} - {run}
    spec = RunFolder(place / "runs" / other).spec()
    assert spec.task == begun_with.task
    assert spec.start is not None
    assert main(["run", "--from", run, "--set", "train.steps=2", "--set", "task.evaluate=[16, 64]"]) == 0
    (third,) = {path.parent.name for path in (place / "runs").glob("*/spec.json")} - {run, other}
    options = RunFolder(place / "runs" / third).spec().task.options
    assert options == {**begun_with.task.options, "evaluate": [16, 64]}
