"""Word frequency: lists hold what is asked for more often than the rest, at every extent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from processes.mistakes import sentence

from pebench.data.word_lists import CODES, LEXICON, common_counts
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.tasks.word_frequency import WordFrequency

VARIANTS = ("common", "frequent")


def _task(**options: Any) -> WordFrequency:
    chosen = {"extent": 256, "evaluate": [256], "examples": 3, "tokenizer": "words", **options}
    model = {"width": 16, "layers": 1, "heads": 2}
    task = build_task(resolve("rope", {"word-frequency": chosen}, model=model))
    task.prepare()
    assert isinstance(task, WordFrequency)
    return task


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("tokenizer", "extent"), [("words", 256), ("words", 16384), ("bytes", 1024)])
def test_what_is_asked_for_stands_most_often(variant: str, tokenizer: str, extent: int) -> None:
    task = _task(variant=variant, tokenizer=tokenizer, extent=extent, evaluate=[extent])
    assert task.tokenizer is not None
    for number in range(3):
        example, wanted = task.draw(extent, 0.0, generator(0, number))
        assert 0.9 * extent < example.length <= extent
        text = task.tokenizer.decode(example.prompt).partition(": ")[2].rpartition(". W")[0]
        ranks = Counter(word for word in text.split() if word != "...").most_common()
        assert {word for word, _ in ranks[:3]} == set(wanted)
        assert ranks[2][1] > ranks[3][1]
        assert task.right(example.answer, wanted) == 3
        if variant == "frequent":
            assert [word for word, _ in ranks[:3]] == list(wanted)


@pytest.mark.parametrize("lexicon", ["words", "codes"])
@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_lists_fill_their_extent(variant: str, asked: int, lexicon: str) -> None:
    for extent in (256, 512, 2048, 16384):
        task = _task(variant=variant, asked=asked, lexicon=lexicon, extent=extent, evaluate=[extent])
        assert 0.95 * extent < task.draw(extent, 0.0, generator(0)).example.length <= extent


def test_common_words_stand_there_more_often_than_any_other_in_lists_of_every_length() -> None:
    for size in range(2, 400):
        for asked in (1, 2, 5):
            for kinds in (24, 500):
                counts = common_counts(size, asked, kinds)
                assert sum(counts) <= size
                assert len(counts) <= kinds
                assert not counts or counts[asked - 1] >= max(2, 9 * (max(counts[asked:]) - 1))
                assert not counts or counts[asked - 1] > max(counts[asked:])


def test_the_lexicon_has_no_word_twice() -> None:
    assert len(set(LEXICON)) == len(LEXICON) == 500


@pytest.mark.parametrize("variant", VARIANTS)
def test_codes_have_their_digits_in_common_and_one_stands_most_often(variant: str) -> None:
    task = _task(variant=variant, lexicon="codes", asked=1)
    assert task.tokenizer is not None
    example, (wanted,) = task.draw(256, 0.0, generator(0, 0))
    text = task.tokenizer.decode(example.prompt).partition(": ")[2].rpartition(". W")[0]
    codes = [word for word in text.split() if word != "..."]
    assert set(codes) <= set(CODES)
    (first, often), (_, next_often) = Counter(codes).most_common(2)
    assert (first, len(example.answer)) == (wanted, 5)
    assert often > next_often


def test_word_lists_are_those_from_before_there_were_codes() -> None:
    plain = resolve("rope", {"word-frequency": {"tokenizer": "words"}})
    coded = resolve("rope", {"word-frequency": {"tokenizer": "words", "lexicon": "codes"}})
    assert "lexicon" not in plain.model_dump_json()
    assert "lexicon" in coded.model_dump_json()


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_gives_what_was_announced(variant: str) -> None:
    task = _task(variant=variant)
    model = task.build(build_encoding("rope", {}, task.geometry()), 0).eval()
    assert isinstance(model, Decoder)
    scores = dict(task.evaluate(model, Extrapolation((256,))).scores)
    scores |= task.conclude({Extrapolation((256,)): scores})[Extrapolation((256,))]
    assert set(scores) == {metric.name for metric in task.metrics()} == {"accuracy", "effective-length"}


def test_batches_are_a_function_of_seed_and_step() -> None:
    task = _task()
    one, again, other = (task.batch(1, "train", step, 3) for step in (4, 4, 5))
    assert torch.equal(one["tokens"], again["tokens"])
    assert not torch.equal(one["tokens"], other["tokens"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"variant": "frequent", "evaluate": [40]}, "do not tell 3 from the rest by their number"),
        ({"evaluate": [16]}, "a question and its answer need"),
        ({"tokenizer": "bpe-400"}, "no text here to train a BPE on"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(**options)


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("word-frequency", "a question and its answer need 67 tokens, and an extent has 64."),
        ("retrieval", "needles and question need 81 tokens, and an extent has 64."),
    ],
)
def test_texts_too_short_for_their_question_are_refused_before_a_run_begins(
    task: str, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = sentence(["run", "--encoding", "rope", "--task", task, "--set", "task.extent=64"], capsys)
    assert told == f"pebench: task '{task}': {reason}\n"
    assert [path.name for path in place.iterdir()] == ["text.txt"]


def test_whether_there_is_room_is_left_open_until_the_tokenizer_is_known(place: Path) -> None:
    trained = {"extent": 1024, "evaluate": [1024], "examples": 1, "tokenizer": "words"}
    short = {"extent": 64, "evaluate": [64], "examples": 1}
    model = {"width": 16, "layers": 1, "heads": 2}
    start = resolve("rope", {"word-frequency": trained}, model=model)
    assert resolve("rope", {"word-frequency": short}, model=model, start=start).start is not None
