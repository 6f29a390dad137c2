"""The training loop: the schedule, parts of a batch, weight decay, and loss that stops being a number."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.decoder import Decoder
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.running import checkpoint
from pebench.running.checkpoint import State
from pebench.running.optimisation import Clipping, learning_rate, optimiser, rates
from pebench.running.train import Progress, train
from pebench.specification.run_spec import Training
from pebench.task import AnyTask


def _task(place: Path, encoding: Any = "rope", /, **training: Any) -> tuple[AnyTask, Decoder, Training]:
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


@pytest.mark.parametrize("rate", [1e38, math.inf])
def test_weights_that_the_last_update_ruined_end_the_run_as_diverged(place: Path, rate: float) -> None:
    task, model, training = _task(place, steps=2, batch=2, warmup=0, schedule="constant")
    seen = []

    def ruined(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        seen.append(1)
        if len(seen) == 2:
            for parameter in model.parameters():
                parameter.data.mul_(rate)

    updates = optimiser(model, model.encoding, training)
    updates.register_step_post_hook(ruined)
    progress = list(
        train(model, task, updates, training, 0, State(), torch.device("cpu"), lambda step: False)
    )
    assert all(bool(torch.isfinite(one.losses["loss"])) for one in progress)
    assert progress[-1].state.diverged_at == 2
    assert model.training


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


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("apply", ["input", "add", "multiply", "scalar"])
def test_examples_stand_where_their_groups_do(place: Path, apply: str, accumulate: int) -> None:
    """As if the table had been made for each example by itself."""
    weights = []
    for expanded in (False, True):
        seqpe = {"apply": apply, "dropout": 0.0, "positions": 200, "shifted": 1.0, "windows": 3}
        task, model, training = _task(place, {"seqpe": seqpe}, steps=2, batch=7, accumulate=accumulate)
        if expanded:
            drawn = model.encoding.training_positions

            def each(extent: Any, examples: int, rng: Any, drawn: Any = drawn) -> Tensor:
                groups = drawn(extent, examples, rng)
                assert len(groups) == 3
                chosen: Tensor = groups[torch.arange(examples) % 3]
                return chosen

            model.encoding.training_positions = each  # type: ignore[method-assign]
        _train(task, model, training)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "encoding", ["none", {"seqpe": {"positions": 200}}, {"seqpe": {"shifted": 1.0}}], ids=str
)
def test_what_the_model_drops_is_the_same_around_every_encoding(place: Path, encoding: Any) -> None:
    task, model, training = _task(place, encoding, steps=2, batch=2)
    seen: list[Tensor] = []
    model.dropout.register_forward_hook(
        lambda module, *_: seen.append(torch.rand(3)) if module.training else None
    )
    _train(task, model, training)
    wanted = [torch.rand(3, generator=generator(0, "dropout", step)) for step in range(2)]
    assert [each.tolist() for each in seen] == [each.tolist() for each in wanted]


OWN = {"learning_rate": 3e-4, "weight_decay": 0.01, "betas": (0.8, 0.9), "clip": 2.0}


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_an_encoding_may_be_trained_in_its_own_way(place: Path, name: str) -> None:
    schedule = {"learning_rate": 3e-3, "warmup": 2, "steps": 4, "batch": 2, "optimiser": name}
    task, model, training = _task(place, "learned", **schedule, encoding=OWN)
    updates = optimiser(model, model.encoding, training)
    own = {id(p) for p in model.encoding.parameters()}
    groups = [group for group in updates.param_groups if id(group["params"][0]) in own]
    assert {id(p) for group in groups for p in group["params"]} == own
    assert [(group["weight_decay"], group["betas"]) for group in groups] == [(0.01, (0.8, 0.9))]
    seen = []
    for _ in train(model, task, updates, training, 0, State(), torch.device("cpu"), lambda step: True):
        found = rates(updates)
        assert found["encoding-learning-rate"] == pytest.approx(found["learning-rate"] / 10)
        seen.append(found["learning-rate"])
    assert seen[:2] == [1.5e-3, 3e-3]


def test_an_encoding_is_clipped_by_itself_where_it_says_so(place: Path) -> None:
    for settings, wanted in (({}, (0.8, 0.6)), ({"clip": 0.5}, (1.0, 0.5)), ({"clip": 0.0}, (1.0, 3.0))):
        _, model, training = _task(place, "learned", clip=1.0, encoding=settings)
        own = [*model.encoding.parameters()]
        rest = [p for p in model.parameters() if all(p is not other for other in own)]
        for parts, norm in ((rest, 4.0), (own, 3.0)):
            for parameter in parts:
                parameter.grad = torch.full_like(parameter, norm / sum(p.numel() for p in parts) ** 0.5)
        assert float(Clipping(model, model.encoding, training)()) == pytest.approx(5.0, rel=1e-4)
        norms = [
            torch.nn.utils.get_total_norm([p.grad for p in part if p.grad is not None])
            for part in (rest, own)
        ]
        assert tuple(map(float, norms)) == pytest.approx(wanted, rel=1e-4)


def test_settings_of_the_encoding_leave_the_names_of_older_runs_alone() -> None:
    plain = resolve("rope", "language-modeling")
    assert resolve("rope", "language-modeling", train={"encoding": {}}).run_id == plain.run_id
    assert resolve("rope", "language-modeling", train={"encoding": {"clip": 1.0}}).run_id != plain.run_id


def test_moments_that_an_optimiser_has_not_are_refused() -> None:
    with pytest.raises(UserError, match="'sgd' has no betas that an encoding could have of its own"):
        resolve("rope", "language-modeling", train={"optimiser": "sgd", "encoding": {"betas": (0.9, 0.99)}})


def test_bfloat16_trains_with_float32_weights(place: Path) -> None:
    task, model, training = _task(place, "alibi", steps=10, batch=4, precision="bfloat16", learning_rate=3e-3)
    losses = [float(progress.losses["loss"]) for progress in _train(task, model, training)]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
