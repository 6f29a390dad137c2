"""Evaluation during training: what it finds is kept, and training does not notice it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from processes.warm_processes import worker
from safetensors.torch import load_file
from specimens.tiny_sweeps import tiny

from pebench.errors import UserError
from pebench.plugins.registry import encodings
from pebench.resolve import resolve
from pebench.running.execution import Execution
from pebench.running.finished import load_finished
from pebench.running.run import execute
from pebench.specification.run_spec import Training
from pebench.store.run_folder import RunFolder

EXECUTION = Execution(device="cpu", threads=1, log_every=2, checkpoint_every=3600)

TEXT_ENCODINGS = [
    name for name in encodings.origins() if 1 in encodings.literals(name).get("axes", (1,)) and name != "none"
]


def begun(place: Path, name: str, encoding: Any = "rope", plain: bool = False, **training: Any) -> RunFolder:
    """A run of six updates that has not begun, in a folder of runs of that name."""
    written = tiny(place)
    looks = {} if plain else {"evaluate_every": 2}
    train = {"steps": 6, "batch": 2, "learning_rate": 1e-2, **looks, **training}
    model = {**written["model"], "dropout": 0.1, "layers": 2}
    spec = resolve(encoding, written["tasks"][0], model=model, train=train)
    folder = RunFolder(place / name / spec.run_id)
    folder.create(spec, {})
    return folder


def numbers(folder: RunFolder) -> tuple[Any, ...]:
    """All that a run has found, without times."""
    result = folder.result()
    assert result is not None
    points: dict[tuple[int, str], float | None] = {}
    for point in folder.points():
        points |= {(point.step, k): v for k, v in point.values.items() if "per-second" not in k}
    return result.scores, points, folder.curve()


def same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("encoding", TEXT_ENCODINGS)
def test_a_run_that_is_looked_at_ends_bit_for_bit_like_one_that_is_not(place: Path, encoding: str) -> None:
    looked_at, plain = begun(place, "looked", encoding), begun(place, "plain", encoding, plain=True)
    execute(looked_at, EXECUTION)
    execute(plain, EXECUTION)
    same_weights(looked_at.weights, plain.weights)
    (scores, points, curve), (plain_scores, plain_points, none) = numbers(looked_at), numbers(plain)
    assert scores == plain_scores
    assert plain_points.items() <= points.items()
    assert not none
    assert [moment.step for moment in curve] == [2, 4, 6]
    assert curve[-1].scores == scores


def test_what_is_found_after_an_update_is_what_a_run_that_ends_there_finds(place: Path) -> None:
    constant: dict[str, Any] = {"schedule": "constant", "keep_weights": True}
    long = begun(place, "long", evaluate_every=None, evaluate_at=[3, 4], **constant)
    short = begun(place, "short", plain=True, steps=4, schedule="constant")
    execute(long, EXECUTION)
    execute(short, EXECUTION)
    assert [moment.step for moment in long.curve()] == [3, 4, 6]
    result = short.result()
    assert result is not None
    assert long.curve()[1].scores == result.scores
    same_weights(long.weights_after(4), short.weights)
    kept = load_finished(long, torch.device("cpu"), step=4).model.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in load_file(short.weights).items())
    with pytest.raises(UserError, match="kept no weights after update 5, but after 3, 4, 6"):
        load_finished(long, torch.device("cpu"), step=5)


@pytest.mark.parametrize("asked", range(1, 12))
def test_a_run_that_is_stopped_while_it_is_looked_at_keeps_what_was_found(place: Path, asked: int) -> None:
    whole, stopped = begun(place, "whole"), begun(place, "stopped")
    execute(whole, EXECUTION)
    left = iter([False] * asked + [True] * 100)
    first = execute(stopped, EXECUTION, stop=left.__next__)
    if first is None:
        assert execute(stopped, EXECUTION) is not None
    assert numbers(whole) == numbers(stopped)
    same_weights(whole.weights, stopped.weights)
    for name, count in _times_evaluated(stopped).items():
        assert count == 1, f"{name} was evaluated {count} times"


def _times_evaluated(folder: RunFolder) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    for point in folder.points():
        for name in point.values:
            if not name.startswith("train/"):
                found[point.step, name] = found.get((point.step, name), 0) + 1
    return found


def test_a_killed_run_keeps_what_was_found_and_ends_like_an_undisturbed_one(place: Path) -> None:
    whole, killed = (
        begun(place, "whole", steps=40, evaluate_every=5),
        begun(place, "killed", steps=40, evaluate_every=5),
    )
    execute(whole, EXECUTION)
    deaths = 0
    for moments in (2, 6):
        process = worker(killed, EXECUTION)
        while process.is_alive() and len(killed.curve()) < moments:
            time.sleep(0.003)
        process.kill()
        process.join()
        deaths += process.exitcode == -signal.SIGKILL
        found = killed.curve()
        assert found == whole.curve()[: len(found)]
    assert deaths >= 1, "the worker was to be killed while it trained"
    execute(killed, EXECUTION)
    assert numbers(whole) == numbers(killed)
    same_weights(whole.weights, killed.weights)


def test_a_run_that_diverges_has_a_curve_up_to_there(place: Path) -> None:
    folder = begun(place, "runs", learning_rate=1e30, clip=0, evaluate_every=1)
    execute(folder, EXECUTION)
    result = folder.result()
    assert result is not None
    assert result.status == "diverged"
    assert result.diverged_at is not None
    assert all(moment.step < result.diverged_at for moment in folder.curve())


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        ({"evaluate_every": 2, "evaluate_at": [3]}, "keep one of them"),
        ({"evaluate_at": [400]}, "'evaluate_at' names update 400, but there are 300"),
        ({"keep_weights": True}, "'keep_weights' needs 'evaluate_every' or 'evaluate_at'"),
        ({"evaluate_every": 0}, "option 'evaluate_every'"),
        ({"decay": 10}, "'decay' says over how many updates"),
        ({"schedule": "warmup-stable-decay"}, "'decay' says over how many updates"),
        ({"schedule": "warmup-stable-decay", "decay": 200, "warmup": 101}, "do not fit into 300 steps"),
    ],
)
def test_what_cannot_be_is_refused(training: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve("rope", "language-modeling", train=training)


def test_looks_are_in_the_identity_where_there_are_any() -> None:
    plain, looked_at = (
        resolve("rope", "language-modeling", train=train) for train in ({}, {"evaluate_every": 100})
    )
    assert plain.run_id != looked_at.run_id
    assert Training(steps=300, evaluate_every=100).looks == (100, 200, 300)
    assert Training(steps=300, evaluate_at=(250, 10, 10)).looks == (10, 250, 300)
    assert Training(steps=300).looks == ()
