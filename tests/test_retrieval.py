"""Retrieval: texts as they are described, accuracy a cell, and the effective length."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pebench.data.needles import HAY, draw_needles
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.tasks.retrieval import Retrieval

MODEL = {"width": 16, "layers": 1, "heads": 2}
VARIANTS = ("passkey", "needle", "multi-key", "multi-value", "multi-query")


def _task(**options: Any) -> tuple[Retrieval, Decoder]:
    chosen = {"evaluate": [400, 800], "examples": 2, **options}
    task = build_task(resolve("rope", {"retrieval": chosen}, model=MODEL))
    task.prepare()
    model = task.build(build_encoding("rope", {}, task.geometry()), 0).eval()
    assert isinstance(task, Retrieval)
    assert isinstance(model, Decoder)
    return task, model


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_a_text_fills_the_extent_and_holds_every_number_that_is_asked_for_once(
    variant: str, depth: float
) -> None:
    task, _ = _task(variant=variant)
    assert task.tokenizer is not None
    for number in range(5):
        example, numbers = task._example(800, depth, generator(0, number))
        text = task.tokenizer.decode(example.prompt)
        assert len(example.prompt) + task._room - 1 == 800
        assert [text.count(n) for n in numbers] == [1] * len(numbers)
        assert task.tokenizer.decode(example.answer) == " " + ", ".join(numbers)
        assert len(example.answer) <= task._room
        assert example.length <= 800
        place = text.index(numbers[0]) / len(text)
        assert abs(place - depth) < 0.35


def test_the_variants_hide_what_they_say() -> None:
    drawn = {variant: draw_needles(variant, 4, generator(0, variant)) for variant in VARIANTS}
    counts = {name: (len(d.asked), len(d.others), len(d.numbers)) for name, d in drawn.items()}
    assert counts == {
        "passkey": (1, 0, 1),
        "needle": (1, 0, 1),
        "multi-key": (1, 3, 1),
        "multi-value": (4, 0, 4),
        "multi-query": (4, 0, 4),
    }
    assert len({sentence.split()[3] for sentence in drawn["multi-value"].asked}) == 1
    assert len({sentence.split()[3] for sentence in drawn["multi-query"].asked}) == 4
    assert not any(letter.isdigit() for sentence in HAY for letter in sentence)


def test_what_is_written_is_scored_number_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    task, model = _task(variant="multi-query", needles=4, depths=[0, 100])
    tokenizer = task.tokenizer
    assert tokenizer is not None

    def half(_: object, prompts: list[list[int]], *others: object) -> list[list[int]]:
        texts = [tokenizer.decode(prompt) for prompt in prompts]
        found = []
        for text in texts:
            keys = text.split("there for ")[1].split("?")[0].split(", ")
            numbers = [text.split(f"number for {key} is ")[1][:5] for key in keys]
            found.append([int(i) for i in tokenizer.encode(f" {numbers[1]}, {numbers[2]}, 1{numbers[0]}")])
        return found

    monkeypatch.setattr("pebench.tasks.retrieval.generate", half)
    scores = task.evaluate(model, Extrapolation((400,))).scores
    assert scores == {"accuracy": 50.0, "accuracy-depth-0": 50.0, "accuracy-depth-100": 50.0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_gives_what_was_announced(variant: str) -> None:
    task, model = _task(variant=variant)
    found = {
        Extrapolation(e, "extend"): dict(task.evaluate(model, Extrapolation(e, "extend")).scores)
        for e in task.extents()
    }
    for reach, further in task.conclude(found).items():
        found[reach] |= further
    assert all(set(scores) == {metric.name for metric in task.metrics()} for scores in found.values())


@pytest.mark.parametrize(
    ("accuracies", "lengths"),
    [
        ([100, 80, 79.9, 100], [512, 1024, 1024, 1024]),
        ([79, 100, 100, 100], [0, 0, 0, 0]),
        ([90, 90, 90, 90], [512, 1024, 2048, 4096]),
        ([float("nan"), 90, 90, 90], [0, 0, 0, 0]),
    ],
)
def test_the_effective_length_is_the_largest_with_enough_at_it_and_at_all_shorter_ones(
    accuracies: list[float], lengths: list[int]
) -> None:
    task, _ = _task()
    extents = (512, 1024, 2048, 4096)
    found = {Extrapolation((e,), "extend"): {"accuracy": a} for e, a in zip(extents, accuracies, strict=True)}
    concluded = task.conclude(found)
    assert [concluded[Extrapolation((e,), "extend")]["effective-length"] for e in extents] == lengths


def test_each_way_past_the_trained_extent_has_a_length_of_its_own() -> None:
    task, _ = _task(extent=512)
    found = {
        Extrapolation((512,), "extend"): {"accuracy": 100.0},
        Extrapolation((1024,), "extend"): {"accuracy": 10.0},
        Extrapolation((1024,), "yarn"): {"accuracy": 90.0},
    }
    lengths = [values["effective-length"] for values in task.conclude(found).values()]
    assert lengths == [512, 512, 1024]


def test_batches_are_a_function_of_seed_and_step() -> None:
    task, _ = _task()
    one, again, other = (task.batch(1, "train", step, 3) for step in (4, 4, 5))
    assert torch.equal(one["tokens"], again["tokens"])
    assert not torch.equal(one["tokens"], other["tokens"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"evaluate": [60]}, r"needles and question need \d+ tokens, and an extent has 60"),
        ({"depths": [3, 3]}, "depths must rise"),
        ({"tokenizer": "bpe-400"}, "no text here to train a BPE on"),
        ({"variant": "haystack"}, "option 'variant'"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(**options)
