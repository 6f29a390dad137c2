"""The three protocols of language modelling, against the plainest way to compute them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pebench.command_line.main import main
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.plugins.registry import tasks
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.resolve import build_task, resolve
from pebench.tasks import language_modeling
from pebench.tasks.language_modeling import LanguageModeling


def _task(place: Path, encoding: str = "alibi", **options: Any) -> tuple[LanguageModeling, Decoder]:
    options = {"data": str(place / "text.txt"), "extent": 16, "evaluate": [16, 24, 48], **options}
    model = {"width": 16, "layers": 1, "heads": 2}
    task = build_task(resolve(encoding, {"language-modeling": options}, model=model))
    task.prepare()
    decoder = task.build(build_encoding(encoding, {}, task.geometry()), 0).eval()
    assert isinstance(task, LanguageModeling)
    assert isinstance(decoder, Decoder)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(10)
    return task, decoder


def _nats(task: LanguageModeling, model: Decoder, start: int, stop: int) -> Tensor:
    """Negative log-likelihoods of the targets of one window, read alone."""
    tokens = torch.from_numpy(np.array(task._evaluated.tokens[start : stop + 1]).astype(np.int64))[None]
    with torch.no_grad():
        table = tabulate(model.encoding, grid((stop - start,)), Extrapolation((stop - start,)))
        return model.losses(model(tokens[:, :-1], table), tokens[:, 1:])[0].double()


def _scores(task: LanguageModeling, model: Decoder, extent: int) -> dict[str, float]:
    with torch.no_grad():
        return task.evaluate(model, Extrapolation((extent,))).scores


def test_non_overlapping_windows_score_every_token_once_the_tail_included(place: Path) -> None:
    task, model = _task(place, protocols=["non-overlapping"])
    stream = task._evaluated
    targets = len(stream.tokens) - 1
    assert targets % 24, "the example is to have a tail"
    wanted = sum(float(_nats(task, model, s, min(s + 24, targets)).sum()) for s in range(0, targets, 24))
    scores = _scores(task, model, 24)
    assert scores["perplexity"] == pytest.approx(math.exp(wanted / targets), rel=1e-6)
    assert scores["bits-per-byte"] == pytest.approx(wanted / math.log(2) / stream.bytes, rel=1e-6)
    assert scores["word-perplexity"] == pytest.approx(math.exp(wanted / stream.words), rel=1e-5)


@pytest.mark.parametrize("stride", [None, 5])
def test_sliding_windows_score_every_token_once_with_the_most_context_the_stride_leaves(
    place: Path, stride: int | None
) -> None:
    task, model = _task(place, protocols=["sliding"], stride=stride, tokens=300, choice="beginning")
    step, total = stride or 12, float(_nats(task, model, 0, 24).sum())
    for done in range(24, 300, step):
        stop = min(done + step, 300)
        total += float(_nats(task, model, done + step - 24, stop)[-(stop - done) :].sum())
    name = f"perplexity-sliding-{stride or 'half'}"
    assert _scores(task, model, 24)[name] == pytest.approx(math.exp(total / 300), rel=1e-6)


def test_the_fixed_tail_scores_the_same_tokens_under_every_extent(place: Path) -> None:
    task, model = _task(place, protocols=["fixed-tail"], tail=10, tokens=200, choice="beginning")
    for extent in (16, 24, 48):
        ends = range(48, 201, 48)
        nats = torch.cat([_nats(task, model, end - extent, end)[-10:] for end in ends])
        scores = _scores(task, model, extent)
        assert scores["perplexity-tail-10"] == pytest.approx(math.exp(float(nats.mean())), rel=1e-6)
        assert scores["bits-per-byte-tail-10"] == pytest.approx(
            float(nats.sum()) / math.log(2) / 40, rel=1e-5
        )


@pytest.mark.parametrize("encoding", ["none", "alibi", "rope", "t5", "xpos", "fox"])
def test_where_a_window_stands_is_nothing_to_an_encoding_of_distances(place: Path, encoding: str) -> None:
    task, model = _task(place, encoding, protocols=["non-overlapping"], offsets=[0, 1000])
    scores = _scores(task, model, 16)
    assert scores["bits-per-byte-offset-0"] == scores["bits-per-byte"]
    assert scores["bits-per-byte-offset-1000"] == pytest.approx(scores["bits-per-byte"], rel=1e-4)
    assert not any("offset" in name for name in _scores(task, model, 24))


def test_sinusoids_are_others_elsewhere(place: Path) -> None:
    task, model = _task(place, "sinusoidal", protocols=["non-overlapping"], offsets=[1000])
    scores = _scores(task, model, 16)
    assert scores["perplexity-offset-1000"] != pytest.approx(scores["perplexity"], rel=1e-4)


def test_offsets_beyond_what_an_encoding_can_name_are_left_out(place: Path) -> None:
    task, model = _task(place, "seqpe", protocols=["non-overlapping"], offsets=[100, 10**6])
    scores = _scores(task, model, 16)
    assert "perplexity-offset-100" in scores
    assert "perplexity-offset-1000000" not in scores


def test_a_model_that_knows_nothing_needs_eight_bits_and_a_little_for_a_byte(place: Path) -> None:
    task, model = _task(place, "none", tokens=480, choice="beginning", protocols=["non-overlapping"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    scores = _scores(task, model, 48)
    assert scores["perplexity"] == pytest.approx(257, rel=1e-6)
    documents = int((np.asarray(task._evaluated.tokens[1:481]) == 256).sum())
    assert scores["bits-per-byte"] == pytest.approx(480 / (480 - documents) * math.log2(257), rel=1e-6)


def test_batches_of_evaluation_change_no_score(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, model = _task(place, tokens=300)
    scores = _scores(task, model, 24)
    monkeypatch.setattr(language_modeling, "TOKENS_AT_ONCE", {"cpu": 24})
    one_by_one = _scores(task, model, 24)
    assert one_by_one.keys() == scores.keys()
    assert [one_by_one[key] for key in scores] == pytest.approx(list(scores.values()), rel=1e-6)


def test_reported_metrics_are_those_that_were_announced(place: Path) -> None:
    task, model = _task(place)
    announced = {metric.name for metric in task.metrics()}
    assert set(_scores(task, model, 16)) == announced
    assert task.metrics()[0].name == "bits-per-byte"


def test_batches_are_a_function_of_seed_split_and_step(place: Path) -> None:
    task, _ = _task(place)
    one = task.batch(3, "train", 5, 4)["tokens"]
    task.batch(3, "train", 6, 4)
    again = task.batch(3, "train", 5, 4)["tokens"]
    assert torch.equal(one, again)
    assert one.shape == (4, 17)
    for other in (
        task.batch(4, "train", 5, 4),
        task.batch(3, "train", 6, 4),
        task.batch(3, "validation", 5, 4),
    ):
        assert not torch.equal(one, other["tokens"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"extent": 500_000, "evaluate": [16]}, "too few for an extent of 500000"),
        ({"evaluate": [16, 400_000]}, "too few for an extent of 400000"),
        ({"tail": 17}, "a tail of 17 tokens is longer than the smallest extent, 16"),
        ({"stride": 17}, "a stride of 17 tokens is longer"),
        ({"protocols": ["slide"]}, "option 'protocols.0'"),
        ({"evaluate": [1]}, "option 'evaluate.0'"),
        ({"data": "nowhere.txt"}, "nowhere.txt"),
    ],
)
def test_impossible_options_get_one_sentence(place: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(place, **options)


def test_python_docs_is_real_english_in_every_installation(place: Path) -> None:
    task, _ = _task(place, data="python-docs", tokens=64)
    train, evaluated = task._streams["train"], task._evaluated
    assert len(train.tokens) > 1_500_000
    assert len(evaluated.tokens) > 50_000
    text = bytes(np.asarray(evaluated.tokens[1:50_000]).astype(np.uint16).clip(max=255).astype(np.uint8))
    assert text.count(b" the ") > 300


def test_a_stride_of_one_is_the_strictest_sliding_perplexity(place: Path) -> None:
    task, model = _task(place, protocols=["sliding"], stride=1, tokens=60, choice="beginning")
    wanted = float(_nats(task, model, 0, 24).sum())
    wanted += sum(float(_nats(task, model, end - 24, end)[-1]) for end in range(25, 61))
    scores = _scores(task, model, 24)
    assert scores["perplexity-sliding-1"] == pytest.approx(math.exp(wanted / 60), rel=1e-5)


@pytest.mark.parametrize("letters", ["天地玄黄宇宙洪荒", "acgt"])
def test_text_without_spaces_has_no_word_perplexity(place: Path, letters: str) -> None:
    draws = np.random.default_rng(0)
    lines = ("".join(draws.choice(list(letters), 700)) for _ in range(60))
    (place / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    task, model = _task(place, protocols=["non-overlapping"])
    assert set(_scores(task, model, 24)) == {"perplexity", "bits-per-byte"}
    assert [metric.name for metric in task.metrics()] == ["bits-per-byte", "perplexity"]


@pytest.mark.parametrize(
    ("task", "options", "extents"),
    [
        ("language-modeling", {"extent": 32, "evaluate": [32, 64, 32, 64.0]}, [(32,), (64,)]),
        ("retrieval", {"evaluate": [800, 400, "800"]}, [(800,), (400,)]),
        ("question-answering", {"evaluate": [512, 512]}, [(512,)]),
        ("length-generalization", {"evaluate": [4, 4, 8]}, [(4,), (8,)]),
        ("lm-eval", {"tasks": ["a", "a"], "evaluate": [16, 16]}, [(16,)]),
        ("image-classification", {"evaluate": [16, [16, 16], 32]}, [(16, 16), (32, 32)]),
        ("image-classification", {"extent": 16}, [(16, 16), (32, 32), (48, 48)]),
    ],
)
def test_an_extent_that_stands_twice_is_one(
    task: str, options: dict[str, Any], extents: list[tuple[int, ...]]
) -> None:
    made = tasks.load(task)
    model = made.Model(patch=16) if task == "image-classification" else made.Model()
    assert made(made.Options.model_validate(options), model).extents() == extents


@pytest.mark.parametrize("task", ["retrieval", "question-answering"])
def test_depths_and_protocols_that_stand_twice_are_one(task: str) -> None:
    options = tasks.load(task).Options.model_validate({"depths": [0, 50, 50]})
    assert options.model_dump()["depths"] == (0, 50)
    options = tasks.load("language-modeling").Options.model_validate({"protocols": ["sliding", "sliding"]})
    assert options.model_dump()["protocols"] == ("sliding",)


def test_files_that_are_left_out_are_told_in_the_log_of_a_run(place: Path) -> None:
    (place / "corpus").mkdir()
    for name in ("train.txt", "valid.txt", "notes.md"):
        (place / "corpus" / name).write_text("a word\n" * 100)
    settings = {"task.data": "corpus", "task.extent": 16, "task.evaluate": "[16]", "train.steps": 1}
    settings |= {"model.width": 16, "model.layers": 1, "model.heads": 2}
    chosen = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert main(["run", "--encoding", "none", *chosen]) == 0
    (log,) = place.glob("runs/*/log.txt")
    assert "1 of 3 files of 'corpus' is left out: 'notes.md'" in log.read_text("utf-8")


def test_files_that_are_left_out_are_told_beside_the_fingerprints(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "corpus").mkdir()
    for name in ("train.txt", "valid.txt", "notes.md"):
        (place / "corpus" / name).write_text("a word\n" * 100)
    task, _ = _task(place, data=str(place / "corpus"))
    said = f"1 of 3 files of '{place / 'corpus'}' is left out: 'notes.md'"
    assert task.prepare()["left out"] == said
    assert said in caplog.text
