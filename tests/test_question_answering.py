"""Question answering: contexts as they are described, SQuAD's scores, every form of data."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch

from pebench.data.answer_scores import contains, exact_match, f1, normalised
from pebench.data.haystack import Hidden, placed
from pebench.data.questions import QuestionSource, load_questions
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation
from pebench.resolve import build_task, resolve
from pebench.tasks.question_answering import ANSWER, QuestionAnswering

MODEL = {"width": 16, "layers": 1, "heads": 2}


def _task(**options: Any) -> tuple[QuestionAnswering, Decoder]:
    task = build_task(resolve("rope", {"question-answering": {"evaluate": [512], **options}}, model=MODEL))
    task.prepare()
    model = task.build(build_encoding("rope", {}, task.geometry()), 0).eval()
    assert isinstance(task, QuestionAnswering)
    assert isinstance(model, Decoder)
    return task, model


@pytest.mark.parametrize(
    ("written", "right", "exact", "quality"),
    [
        # What SQuAD's own evaluation script gives.
        ("The Denver Broncos!", ["Denver Broncos"], 1.0, 1.0),
        ("an  apple", ["The Apple."], 1.0, 1.0),
        ("Denver", ["Denver Broncos"], 0.0, 2 / 3),
        ("in the city of Santa Clara", ["Santa Clara, California", "Santa Clara"], 0.0, 4 / 7),
        ("cat cat dog", ["cat dog dog"], 0.0, 2 / 3),
        ("Saint-Denis", ["Saint Denis"], 0.0, 0.0),
        ("", ["something"], 0.0, 0.0),
        ("24–10", ["24-10"], 0.0, 0.0),
        ("anthem", ["them"], 0.0, 0.0),
    ],
)
def test_scores_are_those_of_squads_script(
    written: str, right: list[str], exact: float, quality: float
) -> None:
    assert exact_match(written, right) == exact
    assert f1(written, right) == pytest.approx(quality)


def test_contains_is_lenient_and_not_empty() -> None:
    assert contains("I think it was the Denver Broncos, in 2015", ["Denver Broncos"]) == 1
    assert contains("Broncos", ["Denver Broncos"]) == 0
    assert contains("a long text", ["The"]) == 0
    assert contains("The Normans came", ["Norman"]) == contains("a category", ["cat"]) == 0
    assert contains("1984", ["98"]) == 0
    assert contains("the cat, sat.", ["Cat sat"]) == 1
    assert normalised("A man, an owl & the sea") == "man owl sea"


@pytest.mark.parametrize(("depth", "place"), [(0, 0), (0.25, 2), (0.5, 4), (0.75, 6), (1, 8)])
def test_a_needle_stands_where_its_depth_says(depth: float, place: int) -> None:
    found = placed([Hidden([[9, 9]], depth)], [[n, n] for n in range(8)])
    assert found[2 * place : 2 * place + 2] == [9, 9]
    assert [n for n in found if n != 9] == [n for n in range(8) for _ in "ab"]


def test_several_needles_keep_their_order() -> None:
    found = placed([Hidden([[10], [11], [12]], 0.0)], [[n] for n in range(9)])
    assert [found.index(n) for n in (10, 11, 12)] == [0, 4, 8]
    assert sorted(found) == [*range(9), 10, 11, 12]
    assert placed([Hidden([[10], [11]], 0.3)], []) == [10, 11]


def test_needles_of_several_groups_stand_each_at_their_depth() -> None:
    hidden = [Hidden([[10], [11]], 0.2), Hidden([[20], [21]], 0.0)]
    found = placed(hidden, [[n] for n in range(10)])
    assert [n for n in found if n > 9] == [20, 10, 21, 11]
    assert [found.index(n) for n in (20, 10, 21, 11)] == [0, 3, 7, 9]


def test_the_context_is_filled_and_holds_the_gold_paragraph_at_its_depth() -> None:
    task, _ = _task()
    tokenizer = task.tokenizer
    assert tokenizer is not None
    question = task._asked()[3]
    own = task._sets["validation"]
    gold = own.passages[question.gold[0]].text
    starts = []
    for depth in (0.0, 0.5, 1.0):
        draws = torch.Generator().manual_seed(1)
        example = task._example(question, "validation", 512, depth, draws)
        assert len(example.prompt) == 512 - ANSWER
        text = tokenizer.decode(example.prompt)
        assert text.count(gold) == 1
        assert text.endswith(f"Question: {question.text}\nAnswer:")
        starts.append(text.index(gold))
    assert starts[0] == 0
    assert starts[0] < starts[1] < starts[2]
    assert tokenizer.decode(example.answer) == f" {question.answers[0]}"


def test_distractors_come_from_other_articles(tmp_path: Path) -> None:
    article = [
        {
            "title": f"T{n}",
            "paragraphs": [
                {"context": f"t{n} p{m} " * 3, "qas": [_asked(f"{n}{m}", f"t{n} p{m}")]} for m in range(3)
            ],
        }
        for n in range(3)
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"data": article}))
    task, _ = _task(data=str(tmp_path), extent=300)
    question = task._asked()[0]
    example = task._example(question, "validation", 512, 0.5, torch.Generator())
    assert task.tokenizer is not None
    text = task.tokenizer.decode(example.prompt)
    (title,) = question.titles
    assert text.count(title.lower()) == 3


def _asked(name: str, answer: str) -> dict[str, Any]:
    return {"id": name, "question": "which?", "answers": [{"text": answer, "answer_start": 0}]}


def test_scores_are_those_that_were_announced_and_batches_change_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, model = _task(questions=7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    scores = task.evaluate(model, Extrapolation((512,))).scores
    assert set(scores) == {metric.name for metric in task.metrics()}
    monkeypatch.setattr("pebench.models.answers.TOKENS_AT_ONCE", 512)
    again = task.evaluate(model, Extrapolation((512,))).scores
    assert again == pytest.approx(scores, rel=1e-5)


def test_a_context_is_read_once() -> None:
    task, model = _task(questions=3)
    read: list[int] = []
    model.register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    found = task.evaluate(model, Extrapolation((512,)))
    examples = [task._example(q, "validation", 512, 0.5, torch.Generator()) for q in task._asked()]
    longest = max(len(example.answer) for example in examples)
    assert read[:2] == [3 * (512 - ANSWER), 3 * (longest - 1)]
    assert set(read[2:]) == {3}
    assert found.items == sum(example.length for example in examples)


def test_a_model_that_knows_the_answers_gets_full_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    task, model = _task(questions=5)
    assert task.tokenizer is not None
    answers = [[int(i) for i in task.tokenizer.encode(f" {q.answers[0]}\nand more")] for q in task._asked()]
    monkeypatch.setattr("pebench.models.answers.greedy", lambda *arguments: answers)
    scores = task.evaluate(model, Extrapolation((512,))).scores
    names = ("f1", "exact-match", "contains")
    assert [scores[name] for name in names] == [100.0] * 3
    assert [scores[f"{name}-depth-100"] for name in names] == [100.0] * 3


def test_scores_by_depth_are_those_of_the_questions_whose_paragraph_stands_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, model = _task(questions=4, depths=[0, 100])
    tokenizer = task.tokenizer
    assert tokenizer is not None
    # The questions take turns, so those at depth 0 get the right answer and the others a part of it.
    texts = [q.answers[0] if n % 2 == 0 else f"{q.answers[0]} zzz" for n, q in enumerate(task._asked())]
    written = [[int(i) for i in tokenizer.encode(f" {text}")] for text in texts]
    monkeypatch.setattr("pebench.models.answers.greedy", lambda *arguments: written)
    scores = task.evaluate(model, Extrapolation((512,))).scores
    assert (scores["exact-match-depth-0"], scores["exact-match-depth-100"]) == (100.0, 0.0)
    assert scores["contains-depth-0"] == scores["contains-depth-100"] == 100.0
    assert scores["f1-depth-0"] == 100.0 > scores["f1-depth-100"] > 0.0
    by_depth = [scores[f"answer-perplexity-depth-{depth}"] for depth in (0, 100)]
    assert min(by_depth) < scores["answer-perplexity"] < max(by_depth)


def test_batches_are_a_function_of_seed_and_step() -> None:
    task, _ = _task()
    one, again, other = (task.batch(1, "train", step, 3) for step in (4, 4, 5))
    assert torch.equal(one["tokens"], again["tokens"])
    assert not torch.equal(one["tokens"], other["tokens"])
    assert one["tokens"].shape == (3, 512)


def test_hotpotqas_form_is_read(tmp_path: Path) -> None:
    row = {
        "_id": "h1",
        "question": "Who?",
        "answer": "Ann",
        "supporting_facts": [["B", 0], ["C", 1]],
        "context": [["A", ["One. ", "Two."]], ["B", ["Three."]], ["C", ["Four. ", "Five."]]],
    }
    columns = {
        "id": "h1",
        "question": "Who?",
        "answer": "Ann",
        "supporting_facts": {"title": ["B", "C"], "sent_id": [0, 1]},
        "context": {
            "title": ["A", "B", "C"],
            "sentences": [["One. ", "Two."], ["Three."], ["Four. ", "Five."]],
        },
    }
    found = []
    for name, content in {"a": row, "b": columns}.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps([content]))
        found.append(load_questions(QuestionSource.model_validate({"validation": str(path)}), "validation"))
    assert found[0] == found[1]
    (question,) = found[0].questions
    assert [found[0].passages[n].text for n in question.gold] == ["Three.", "Four. Five."]
    assert question.titles == {"B", "C"}


def test_questions_without_an_answer_are_passed_over(tmp_path: Path) -> None:
    qas = [_asked("1", "x"), {"id": "2", "question": "?", "answers": [], "is_impossible": True}]
    content = {"data": [{"title": "T", "paragraphs": [{"context": "x y", "qas": qas}]}]}
    with lzma.open(tmp_path / "dev.json.xz", "wt") as file:
        json.dump(content, file)
    source = QuestionSource.model_validate({"validation": str(tmp_path / "dev.json.xz")})
    assert len(load_questions(source, "validation").questions) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"data": "nowhere.json"}, "no file or folder of questions at 'nowhere.json'"),
        ({"data": str(Path(__file__).parent / "slurm")}, "the folder .* holds no JSON file of questions"),
        ({"data": {"train": "a", "path": "b"}}, "name one source of questions"),
        ({"evaluate": [64]}, r"none of the \d+ questions of the validation split fits into 64 tokens"),
        ({"depths": [50, 0]}, "depths must rise"),
        ({"split": "test"}, "no split 'test': there are 'train' and 'validation'"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(**options)


def test_a_file_of_another_form_is_told_in_one_sentence(tmp_path: Path) -> None:
    for number, text in enumerate(['{"data": 3}', '[{"x": 1}]', "{", '{"data": [{"paragraphs": 3}]}']):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(UserError, match=r"form|is not JSON"):
            _task(data={"train": str(path), "validation": str(path)})


def test_real_squad_is_read_whole(shared_data: Path) -> None:
    source = QuestionSource.model_validate({"validation": str(shared_data / "squad" / "dev-v1.1.json.xz")})
    found = load_questions(source, "validation")
    assert len(found.questions) == 10_570
    assert len({passage.title for passage in found.passages}) == 48


def _articles(path: Path, names: range, more: str = "") -> Path:
    def article(number: int) -> dict[str, Any]:
        qas = [_asked(str(number), "Oslo")]
        return {"title": f"T{number}", "paragraphs": [{"context": f"Ann lives in Oslo.{more}", "qas": qas}]}

    path.write_text(json.dumps({"data": [article(number) for number in names]}))
    return path


def test_a_file_that_is_named_for_two_splits_is_used_whole_for_both(tmp_path: Path) -> None:
    path = str(_articles(tmp_path / "all.json", range(8)))
    both = QuestionSource.model_validate({"train": path, "validation": path})
    assert [len(load_questions(both, split).questions) for split in ("train", "validation")] == [8, 8]
    divided = QuestionSource.model_validate(path)
    assert [len(load_questions(divided, split).questions) for split in ("train", "validation")] == [6, 1]


def test_half_an_emoji_in_a_question_file_is_replaced(tmp_path: Path) -> None:
    path = _articles(tmp_path / "half.json", range(4), " cut \ud83d here")
    task, _ = _task(data={"train": str(path), "validation": str(path)})
    assert "cut � here" in task._sets["train"].passages[0].text


def test_contains_finds_words_and_no_letters_inside_of_words() -> None:
    assert contains("It is a category.", ["cat"]) == 0
    assert contains("It is a cat.", ["cat"]) == 1
    assert contains("The New York Times", ["york times"]) == 1
    assert contains("the", ["the"]) == 1
    assert contains("a dog", ["the"]) == 0
