"""The training loop: the schedule, parts of a batch, weight decay, and loss that stops being a number."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.resolve import build_task, resolve
from pebench.running import checkpoint
from pebench.running.checkpoint import State
from pebench.running.optimisation import learning_rate, optimiser
from pebench.running.train import Progress, train
from pebench.spec import Training
from pebench.task import AnyTask
from pebench.torchvision_operators import declare_missing


def _task(place: Path, encoding: Any = "rope", **training: Any) -> tuple[AnyTask, Decoder, Training]:
    options = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32], "tail": 8}
    model = {"width": 32, "layers": 2, "heads": 2}
    spec = resolve(encoding, {"language-modeling": options}, model=model, train=training)
    task = build_task(spec)
    task.prepare()
    built = build_encoding(spec.encoding.name, spec.encoding.options, task.geometry(), 0)
    decoder = task.build(built, 0)
    assert isinstance(decoder, Decoder)
    return task, decoder, spec.train


def _train(task: AnyTask, model: Decoder, training: Training, start: State | None = None) -> list[Progress]:
    updates = optimiser(model, model.encoding, training)
    cpu = torch.device("cpu")
    return list(train(model, task, updates, training, 0, start or State(), cpu, lambda step: step % 5 == 0))


def test_the_loss_falls(place: Path) -> None:
    task, model, training = _task(place, steps=60, batch=8, learning_rate=3e-3)
    losses = [float(progress.losses["loss"]) for progress in _train(task, model, training)]
    assert losses[0] == pytest.approx(math.log(257), abs=0.1)
    assert losses[-1] < 3


@pytest.mark.parametrize("encoding", ["rope", {"seqpe": {"dropout": 0.0, "positions": 200}}], ids=str)
def test_a_batch_in_parts_trains_like_a_batch_at_once(place: Path, encoding: Any) -> None:
    weights = []
    for accumulate in (1, 3):
        task, model, training = _task(place, encoding, steps=3, batch=7, accumulate=accumulate)
        _train(task, model, training)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=2e-4, rtol=1e-3, msg=name)


def test_the_encodings_losses_reach_the_log(place: Path) -> None:
    task, model, training = _task(place, {"seqpe": {"positions": 200}}, steps=1, batch=2)
    assert set(_train(task, model, training)[0].losses) >= {"loss", "contrastive"}


def test_a_loss_that_is_no_number_ends_the_run_at_the_next_look(place: Path) -> None:
    task, model, training = _task(place, steps=40, batch=2)
    plain, calls = task.loss, []

    def loss(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*arguments) * (math.nan if len(calls) == 7 else 1.0)

    task.loss = loss  # type: ignore[method-assign, assignment]
    last = _train(task, model, training)[-1].state
    assert (last.diverged_at, last.step) == (7, 10)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules_warm_up_and_come_down(schedule: Any) -> None:
    training = Training(steps=100, warmup=10, schedule=schedule, learning_rate=1.0, final=0.1)
    rates = [learning_rate(training, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1, abs=0.02)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_are_those_of_timm(schedule: Any) -> None:
    declare_missing()
    from timm.scheduler import CosineLRScheduler, PolyLRScheduler

    training = Training(steps=100, warmup=10, schedule=schedule, learning_rate=0.3, final=0.1)
    moved = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    kind = {"linear": PolyLRScheduler, "cosine": CosineLRScheduler}[schedule]
    powers = {"power": 1.0} if schedule == "linear" else {}
    own = kind(moved, t_initial=90, lr_min=0.03, warmup_t=10, warmup_prefix=True, t_in_epochs=False, **powers)
    for step in range(10, 100):
        own.step_update(step)
        assert learning_rate(training, step) == pytest.approx(moved.param_groups[0]["lr"], rel=1e-9)


@pytest.mark.parametrize("name", ["adamw", "lamb", "lion", "sgd", "nadamw", "adopt", "adafactor", "madgrad"])
def test_every_optimiser_goes_on_from_a_checkpoint_as_if_it_had_not_been_cut_off(
    place: Path, tmp_path: Path, name: str
) -> None:
    cpu = torch.device("cpu")
    weights = []
    for cut in (8, 4):
        state = State()
        while state.step < 8:
            task, model, training = _task(place, steps=8, batch=4, optimiser=name)
            before = model.token_embedding.weight.detach().clone()
            updates = optimiser(model, model.encoding, training)
            folder = tmp_path / str(cut)
            state = checkpoint.load(folder, checkpoint.newest(folder), model, updates, cpu)
            for progress in train(model, task, updates, training, 0, state, cpu, lambda step: False):
                state = progress.state
                if state.step == cut:
                    break
            checkpoint.save(tmp_path / str(cut), model, updates, state)
        assert not torch.equal(before, model.token_embedding.weight)
        weights.append(model.state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_an_optimiser_that_timm_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown optimiser 'lamp': did you mean 'lamb'.*\?$"):
        resolve("rope", "language-modeling", train={"optimiser": "lamp"})


def test_weight_decay_spares_the_encoding_norms_biases_and_embeddings(place: Path) -> None:
    _, model, training = _task(place, "learned")
    groups = optimiser(model, model.encoding, training).param_groups
    decayed = {id(parameter) for parameter in groups[0]["params"]}
    assert groups[0]["weight_decay"] == training.weight_decay
    assert groups[1]["weight_decay"] == 0
    wanted = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    assert decayed == wanted


def test_bfloat16_trains_with_float32_weights(place: Path) -> None:
    task, model, training = _task(place, "alibi", steps=10, batch=4, precision="bfloat16", learning_rate=3e-3)
    losses = [float(progress.losses["loss"]) for progress in _train(task, model, training)]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
