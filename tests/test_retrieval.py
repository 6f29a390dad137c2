"""Retrieval: texts as they are described, accuracy a cell, and the effective length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pebench.data.needles import HAY, KEYS, draw_needles
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.tasks.retrieval import CHAINED, SEVERAL_QUESTIONS, Retrieval

MODEL = {"width": 16, "layers": 1, "heads": 2}
NUMBERS_OF_KEYS = ("passkey", "needle", "multi-key", "multi-value", "multi-query")
VARIANTS = (*NUMBERS_OF_KEYS, "two-hop", "variable-tracking")


def _task(**options: Any) -> tuple[Retrieval, Decoder]:
    chosen = {"evaluate": [400, 800], "examples": 2, **options}
    task = build_task(resolve("rope", {"retrieval": chosen}, model=MODEL))
    task.prepare()
    model = task.build(build_encoding("rope", {}, task.geometry()), 0).eval()
    assert isinstance(task, Retrieval)
    assert isinstance(model, Decoder)
    return task, model


@pytest.mark.parametrize("variant", NUMBERS_OF_KEYS)
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_a_text_fills_the_extent_and_holds_every_number_that_is_asked_for_once(
    variant: str, depth: float
) -> None:
    task, _ = _task(variant=variant)
    assert task.tokenizer is not None
    for number in range(5):
        example, numbers = task.draw(800, depth, generator(0, number))
        text = task.tokenizer.decode(example.prompt)
        assert len(example.prompt) + task.room - 1 == 800
        assert [text.count(n) for n in numbers] == [1] * len(numbers)
        assert task.tokenizer.decode(example.answer) == " " + ", ".join(numbers)
        assert len(example.answer) <= task.room
        assert example.length <= 800
        place = min(text.index(number) for number in numbers) / len(text)
        assert abs(place - depth) < 0.35


def test_the_variants_hide_what_they_say() -> None:
    drawn = {variant: draw_needles(variant, 4, generator(0, variant)) for variant in VARIANTS}
    counts = {
        name: (len(d.asked), sum(map(len, d.others)), len(d.question.answer)) for name, d in drawn.items()
    }
    assert counts == {
        "passkey": (1, 0, 1),
        "needle": (1, 0, 1),
        "multi-key": (1, 3, 1),
        "multi-value": (4, 0, 4),
        "multi-query": (4, 0, 4),
        "two-hop": (2, 6, 1),
        "variable-tracking": (4, 4, 4),
    }
    assert len({sentence.split()[3] for sentence in drawn["multi-value"].asked}) == 1
    assert len({sentence.split()[3] for sentence in drawn["multi-query"].asked}) == 4
    assert not any(letter.isdigit() for sentence in HAY for letter in sentence)


@pytest.mark.parametrize("digits", [1, 2, 5])
@pytest.mark.parametrize("variant", ["needle", "multi-key", "multi-value", "multi-query"])
def test_the_keys_of_the_question_lead_to_the_numbers(variant: str, digits: int) -> None:
    several = {} if variant == "needle" else {"needles": 3}
    task, _ = _task(variant=variant, digits=digits, tokenizer="words", **several)
    assert task.tokenizer is not None
    for number in range(20):
        example, wanted = task.draw(100, 0.5, generator(0, number))
        text, _, asked = task.tokenizer.decode(example.prompt).rpartition("Which numbers are there for ")
        keys = asked.partition("?")[0].split(", ")
        found = [n for key in keys for n in re.findall(rf"A number for {key} is (\d+)\.", text)]
        assert found == list(wanted)
        assert {len(n) for n in wanted} == {digits}
        assert task.tokenizer.decode(example.answer) == " " + ", ".join(wanted)


def _chain(text: str, number: str) -> list[str]:
    """The names of a text that stand for a number, in their order."""
    names = re.findall(rf"Let (\w+) be {number}\.", text)
    while found := re.findall(rf"Let (\w+) be as {names[-1]}\.", text):
        names += found
    return names


@pytest.mark.parametrize("variant", SEVERAL_QUESTIONS)
def test_further_questions_of_a_training_text_are_answered_by_it(variant: str) -> None:
    task, _ = _task(variant=variant, needles=3, digits=2, asked=5, extent=200, tokenizer="words")
    assert task.tokenizer is not None
    batch = task.batch(0, "train", 0, 4)
    assert batch["tokens"].shape == (4, 200)
    end = task.tokenizer.end_of_text
    for tokens, states, targets, counted in zip(*batch.values(), strict=True):
        read, places, answers = tokens.tolist(), states[counted].tolist(), targets[counted].tolist()
        assert answers.count(end) == 5
        assert all(read[place + 1] == answer for place, answer in zip(places[:-1], answers, strict=False))
        text = task.tokenizer.decode(read)
        if variant == "variable-tracking":
            turns = re.split(r"Which names stand for ", text)[1:]
            for number, written in (turn.split("? Names: ") for turn in turns[:-1]):
                assert written.split(", ") == _chain(text, number)
            assert len(turns) == 5
            continue
        _, *turns = re.split(r"Which numbers? (?:are|is) there for (?:who wants )?", text)
        assert len(turns) == 5
        book = dict(re.findall(r"A number for (\w+) is (\d+)\.", text))
        book |= {name: book[key] for name, key in re.findall(r"Whoever wants (\w+) takes (\w+)\.", text)}
        for keys, written in (turn.split("? Numbers: ") for turn in turns[:-1]):
            assert written == ", ".join(book[key] for key in keys.split(", "))
    assert task.draw(200, 0.5, generator(0)).example.prompt.count(end) == 1


@pytest.mark.parametrize("tokenizer", ["bytes", "words"])
def test_two_hops_lead_to_the_number_and_no_single_sentence_does(tokenizer: str) -> None:
    task, _ = _task(variant="two-hop", needles=3, tokenizer=tokenizer)
    assert task.tokenizer is not None
    first = set()
    for number in range(20):
        example, (wanted,) = task.draw(600, 0.5, generator(0, number))
        text = task.tokenizer.decode(example.prompt)
        name = text.rpartition("for who wants ")[2].partition("?")[0]
        key = text.partition(f"Whoever wants {name} takes ")[2].partition(".")[0]
        assert text.partition(f"A number for {key} is ")[2].partition(".")[0] == wanted
        assert f"A number for {name} is" not in text
        assert text.count("Whoever wants") == text.count("A number for") == 3
        first.add(text.index(f"takes {key}") < text.index(f"for {key} is"))
    assert first == {True, False}


@pytest.mark.parametrize("tokenizer", ["bytes", "words"])
def test_the_names_of_one_chain_stand_for_its_number(tokenizer: str) -> None:
    task, _ = _task(variant="variable-tracking", needles=4, tokenizer=tokenizer)
    assert task.tokenizer is not None
    for number in range(20):
        example, wanted = task.draw(600, 0.0, generator(0, number))
        text = task.tokenizer.decode(example.prompt)
        asked = text.rpartition("Which names stand for ")[2].partition("?")[0]
        links = dict(re.findall(r"Let (\w+) be(?: as)? (\w+)\.", text))
        assert len(links) == 8
        for name in links:
            value = name
            while value in links:
                value = links[value]
            assert (value == asked) == (name in wanted)
        assert task.right(example.answer, wanted) == 4


@pytest.mark.parametrize("tokenizer", ["bytes", "words"])
@pytest.mark.parametrize("variant", CHAINED)
def test_with_a_scratchpad_each_word_of_an_answer_is_found_by_the_one_before_it(
    variant: str, tokenizer: str
) -> None:
    options = {
        "variant": variant,
        "needles": 3,
        "digits": 2,
        "asked": 4,
        "extent": 800,
        "tokenizer": tokenizer,
    }
    task, _ = _task(scratchpad=True, **options)
    plain, _ = _task(**options)
    assert task.tokenizer is not None
    assert plain.tokenizer is not None
    starts = set()
    for number in range(10):
        first, *further = task.trained(0.5, generator(0, number))
        assert len(further) == 3
        text = task.tokenizer.decode(first.prompt)
        for example in (first, *further):
            start = task.tokenizer.decode(example.prompt).rpartition(": ")[2]
            written = task.tokenizer.decode(example.answer).split()
            if variant == "variable-tracking":
                assert written == _chain(text, start)
                wanted = written
            else:
                key = text.partition(f"Whoever wants {start} takes ")[2].partition(".")[0]
                wanted = [text.partition(f"A number for {key} is ")[2].partition(".")[0]]
                assert written == [key, *wanted]
            assert task.right(example.answer, wanted) == len(wanted)
            assert len(example.answer) <= task.room
            starts.add(start)
        hidden = plain.tokenizer.decode(plain.trained(0.5, generator(0, number))[0].prompt)
        assert set(re.findall(r"(?:Let|A number|Whoever)[^.]*\.", text)) == set(
            re.findall(r"(?:Let|A number|Whoever)[^.]*\.", hidden)
        )
    assert len(starts) > 10


def test_of_two_hops_with_a_scratchpad_the_number_counts_in_its_place() -> None:
    task, _ = _task(variant="two-hop", scratchpad=True, digits=2, tokenizer="words")
    assert task.tokenizer is not None
    for written, count in (
        (" anchor 57", 1),
        (" basket 57", 1),
        (" anchor 75", 0),
        (" 57", 0),
        (" anchor 75 57", 0),
    ):
        assert task.right(task.tokenizer.encode(written).tolist(), ("57",)) == count


@pytest.mark.parametrize("variant", CHAINED)
def test_a_model_writes_its_scratchpad_itself(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, model = _task(variant=variant, needles=2, digits=2, scratchpad=True, tokenizer="words")
    tokenizer = task.tokenizer
    assert tokenizer is not None

    def first_hop(
        _: object, prompts: list[list[int]], _reach: object, limit: int, _stop: object
    ) -> list[list[int]]:
        assert limit == task.room - 1
        texts = [tokenizer.decode(prompt) for prompt in prompts]
        starts = [text.rpartition(": ")[2] for text in texts]
        if variant == "two-hop":
            words = [re.findall(rf"wants {s} takes (\w+)", t)[0] for s, t in zip(starts, texts, strict=True)]
        else:
            words = [_chain(text, start)[0] for start, text in zip(starts, texts, strict=True)]
        return [tokenizer.encode(f" {word}").tolist() for word in words]

    monkeypatch.setattr("pebench.task_bases.written_words.generate", first_hop)
    scores = task.evaluate(model, Extrapolation((400,))).scores
    assert scores["accuracy"] == (0 if variant == "two-hop" else 50)


def test_options_that_came_later_are_left_out_of_a_specification() -> None:
    plain = {"retrieval": {"variant": "two-hop"}}
    later = {"scratchpad": False, "asked": 1, "digits": 5}
    assert resolve("rope", plain) == resolve("rope", {"retrieval": {"variant": "two-hop", **later}})
    assert not later.keys() & resolve("rope", plain).task.options.keys()
    assert resolve("rope", {"retrieval": {"variant": "two-hop", "scratchpad": True}}) != resolve(
        "rope", plain
    )


@pytest.mark.parametrize(("variant", "needles"), [("multi-key", 3), ("two-hop", 2), ("variable-tracking", 3)])
def test_places_do_not_tell_which_needles_are_asked_for(variant: str, needles: int) -> None:
    task, _ = _task(variant=variant, needles=needles, tokenizer="words", evaluate=[200])
    assert task.tokenizer is not None
    last = []
    for number in range(400):
        draws = generator(0, number)
        example, wanted = task.draw(200, float(torch.rand((), generator=draws)), draws)
        text = task.tokenizer.decode(example.prompt).rpartition("Which")[0]
        links = re.findall(r"Let (\w+) be as (\w+)\.", text)
        assert all(text.index(f"Let {before} be") < text.index(f"Let {name} be") for name, before in links)
        *_, final = re.findall(r"Let (\w+) be" if variant == "variable-tracking" else r"is (\d+)\.", text)
        last.append(final in wanted)
    share = 2 if variant == "variable-tracking" else needles
    assert sum(last) / len(last) == pytest.approx(1 / share, abs=0.06)


def test_names_beyond_as_many_as_were_asked_for_are_not_counted() -> None:
    task, _ = _task(variant="variable-tracking", needles=2, tokenizer="words")
    assert task.tokenizer is not None
    for written, count in (
        (" anchor, basket", 2),
        (" candle desert anchor", 0),
        (" candle, basket", 1),
    ):
        assert task.right(task.tokenizer.encode(written).tolist(), ("basket", "anchor")) == count


def test_every_word_of_drawn_texts_is_a_token() -> None:
    for variant, scratchpad in (*((each, False) for each in VARIANTS), *((each, True) for each in CHAINED)):
        task, _ = _task(variant=variant, scratchpad=scratchpad, tokenizer="words", evaluate=[128])
        assert task.tokenizer is not None
        for number in range(10):
            prompt = task.draw(128, 0.5, generator(0, number)).example.prompt
            assert task.tokenizer.encode("stranger").tolist()[0] not in prompt


def test_words_are_no_tokenizer_for_text_of_others() -> None:
    with pytest.raises(UserError, match="'words' is for tasks that draw their texts"):
        build_task(resolve("rope", {"language-modeling": {"tokenizer": "words"}})).check()


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
            found.append([int(i) for i in tokenizer.encode(f" {numbers[0]}, {numbers[1]}, 1{numbers[2]}")])
        return found

    monkeypatch.setattr("pebench.task_bases.written_words.generate", half)
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
        ({"depths": [3, 2]}, "depths must rise"),
        ({"tokenizer": "bpe-400"}, "no text here to train a BPE on"),
        ({"variant": "haystack"}, "option 'variant'"),
        ({"variant": "needle", "needles": 8}, "'needle' hides one needle, and not 8"),
        (
            {"variant": "multi-key", "scratchpad": True},
            "'multi-key' has one step, and a scratchpad is for 'two-hop'",
        ),
        ({"variant": "needle", "asked": 2}, "'needle' has one question, and 2 are asked for"),
        ({"variant": "variable-tracking", "needles": 13}, "take 26 names, and there are 24"),
        ({"variant": "multi-key", "needles": 10, "digits": 1}, "no 10 different numbers of 1 digit"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(**options)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What to write for tokenizers of several kinds."""
    folder = tmp_path_factory.mktemp("tokenizers")
    kinds = ("byte-level", "metaspace", "word-piece", "words")
    return {"bytes": "bytes", **{kind: {"file": str(_file(folder, kind))} for kind in kinds}}


def _file(folder: Path, kind: str) -> Path:
    """A tokenizer that was trained on texts with some numbers in them, so that others take it more tokens."""
    texts = [
        f"What is the pass key? It is {n * n}, {n}. A number for {k}. " for n in range(1000) for k in KEYS[:2]
    ]
    inner: Any
    trainer: Any
    match kind:
        case "byte-level":
            inner = Tokenizer(models.BPE())
            inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            inner.decoder = decoders.ByteLevel()
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(
                vocab_size=1500, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
            )
        case "metaspace":
            inner = Tokenizer(models.Unigram())
            inner.pre_tokenizer = pre_tokenizers.Metaspace()
            inner.decoder = decoders.Metaspace()
            trainer = trainers.UnigramTrainer(
                vocab_size=600, special_tokens=["</s>", "<unk>"], unk_token="<unk>", show_progress=False
            )
        case "word-piece":
            inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
            inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            inner.decoder = decoders.WordPiece()
            trainer = trainers.WordPieceTrainer(
                vocab_size=600, special_tokens=["</s>", "[UNK]"], show_progress=False
            )
        case _:
            inner = Tokenizer(models.WordLevel(unk_token="[UNK]"))
            inner.pre_tokenizer = pre_tokenizers.Whitespace()
            trainer = trainers.WordLevelTrainer(
                vocab_size=100, special_tokens=["</s>", "[UNK]"], show_progress=False
            )
    inner.train_from_iterator(texts, trainer)
    inner.save(str(folder / f"{kind}.json"))
    return folder / f"{kind}.json"


@pytest.mark.parametrize("variant", [*NUMBERS_OF_KEYS, "two-hop"])
@pytest.mark.parametrize("kind", ["bytes", "byte-level", "metaspace", "word-piece"])
def test_a_perfect_reader_finds_everything_under_every_tokenizer(
    tokenizers: dict[str, Any], kind: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, model = _task(variant=variant, tokenizer=tokenizers[kind], extent=400, evaluate=[400], examples=4)
    answers: dict[tuple[int, ...], Sequence[int]] = {}
    draw = task.draw

    def remembered(*given: Any) -> Any:
        made = draw(*given)
        answers[tuple(made.example.prompt)] = made.example.answer
        return made

    def perfect(
        model: Decoder, prompts: Sequence[Sequence[int]], reach: Extrapolation, limit: int, stop: Any
    ) -> Any:
        return [[t for t in answers[tuple(p)] if t not in stop.tokens][:limit] for p in prompts]

    monkeypatch.setattr(task, "draw", remembered)
    monkeypatch.setattr("pebench.task_bases.written_words.generate", perfect)
    assert task.evaluate(model, Extrapolation((400,))).scores["accuracy"] == 100
    assert len({len(answer) for answer in answers.values()}) > 1 or kind == "bytes"
    for step in range(4):
        task.batch(0, "train", step, 16)


def test_a_tokenizer_that_cannot_write_numbers_is_refused(tokenizers: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"the tokenizer cannot write .*: choose one that keeps digits"):
        _task(tokenizer=tokenizers["words"])


def test_numbers_under_keys_of_their_own_count_in_the_order_of_the_question() -> None:
    orders = set()
    for number in range(60):
        drawn = draw_needles("multi-query", 3, generator(1, number))
        keys = drawn.question.text.removeprefix("Which numbers are there for ").partition("?")[0].split(", ")
        found = [next(s for s in drawn.asked if f" {key} " in s) for key in keys]
        assert [sentence.split()[-1].rstrip(".") for sentence in found] == list(drawn.question.answer)
        orders.add(tuple(drawn.asked.index(sentence) for sentence in found))
    assert len(orders) == 6
    task, _ = _task(variant="multi-query")
    assert task.tokenizer is not None
    right = ("12345", "23456", "34567")
    for written, count in ((" 12345, 23456, 34567", 3), (" 23456, 12345, 34567", 1), (" 12345", 1)):
        assert task.right(task.tokenizer.encode(written).tolist(), right) == count


def test_a_model_without_numbers_has_no_accuracy() -> None:
    task, model = _task()
    model.token_embedding.weight.data.fill_(float("nan"))
    scores = task.evaluate(model, Extrapolation((400,))).scores
    assert scores
    assert all(value != value for value in scores.values())
