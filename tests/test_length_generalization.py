"""Length generalization: problems are what they say, lengths are exact, and scores are greedy decoding's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from specimens.scan_commands import VERBS, actions, write_scan

from pebench.data.problems import PROBLEMS
from pebench.data.scan import read_scan, scan_files
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.models.generation import generate
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.resolve import build_task, encoding_geometry, resolve
from pebench.tasks.length_generalization import LengthGeneralization

MODEL = {"width": 16, "layers": 1, "heads": 2}


def _task(encoding: str = "rope", **options: Any) -> tuple[LengthGeneralization, Decoder]:
    spec = resolve(encoding, {"length-generalization": {"examples": 20, **options}}, model=MODEL)
    task = build_task(spec)
    task.prepare()
    model = task.build(build_encoding(encoding, {}, encoding_geometry(spec, task)), 0).eval()
    assert isinstance(task, LengthGeneralization)
    assert isinstance(model, Decoder)
    return task, model


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_a_problem_fits_into_the_room_that_its_length_is_given(name: str, length: int) -> None:
    problem, draws = PROBLEMS[name], generator(0, name)
    for _ in range(20):
        question, answer = problem.draw(length, draws)
        assert len(question) + len(answer) <= problem.size(length)
        assert len(answer) <= problem.answer(length)
        assert set(question) | set(answer) <= set(problem.symbols)


@pytest.mark.parametrize("length", [1, 5, 23])
def test_answers_are_right(length: int) -> None:
    draws = generator(1, "answers")
    for _ in range(20):
        drawn = {name: problem.draw(length, draws) for name, problem in PROBLEMS.items()}
        for name in ("copy", "reverse", "sort"):
            assert len(drawn[name].question) == length
        assert drawn["copy"].answer == drawn["copy"].question
        assert drawn["reverse"].answer == tuple(reversed(drawn["reverse"].question))
        assert drawn["sort"].answer == tuple(sorted(drawn["sort"].question))
        assert drawn["parity"].answer == (str(sum(map(int, drawn["parity"].question)) % 2),)
        expression = "".join(drawn["modular-arithmetic"].question)
        # Python reads a leading zero as octal, so digits are taken apart by hand.
        signs = ["+", *expression[1::2]]
        value = sum((1 if s == "+" else -1) * int(d) for s, d in zip(signs, expression[::2], strict=True))
        assert drawn["modular-arithmetic"].answer == (str(value % 10),)
        one, _, other = "".join(drawn["addition"].question).partition("+")
        assert int("".join(drawn["addition"].answer)) == int(one) + int(other)
        one, _, other = "".join(drawn["addition-reversed"].question).partition("+")
        assert int("".join(drawn["addition-reversed"].answer)[::-1]) == int(one[::-1]) + int(other[::-1])
        numbers = "".join(drawn["addition-operands"].question).split("+")
        assert [len(number) for number in numbers] == [2] * length
        total = int("".join(drawn["addition-operands"].answer)[::-1])
        assert total == sum(int(number[::-1]) for number in numbers)
        *pairs, asked, key = drawn["associative-recall"].question
        assert asked == "?"
        assert drawn["associative-recall"].answer == (pairs[pairs.index(key) + 1],)


def test_a_score_is_what_greedy_decoding_through_the_cache_gives() -> None:
    task, model = _task(problem="parity", extent=4, evaluate=[3, 6])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    # A model that knows nothing is never right, so what it writes is made the right answer of some.
    reach = Extrapolation(task.positions((6,)))
    examples = [task._example(question) for question in task._tested(6)]
    written = generate(model, [e.prompt for e in examples], Extrapolation((reach.extent[0] + 2,)), 2)
    right = [list(e.answer) == text for e, text in zip(examples, written, strict=True)]
    assert task.evaluate(model, Extrapolation((6,))).scores["exact-match"] == pytest.approx(
        100 * sum(right) / 20
    )


@pytest.mark.parametrize("problem", ["copy", "addition-reversed", "associative-recall"])
def test_training_and_evaluation_run_at_every_length(problem: str) -> None:
    task, model = _task(problem=problem, extent=5)
    batch = task.batch(0, "train", 3, 6)
    again = task.batch(0, "train", 3, 6)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert batch["tokens"].shape == (6, *task.geometry().extent)
    assert [extent for (extent,) in task.extents()] == [5, 10, 20]
    for extent in task.extents():
        scores = task.evaluate(model, Extrapolation(extent)).scores
        assert set(scores) == {metric.name for metric in task.metrics()}
        assert all(0 <= value <= 100 for value in scores.values())


def test_the_encoding_is_asked_about_positions_and_not_about_lengths() -> None:
    task, _ = _task(problem="addition", extent=10)
    assert task.positions((40,)) == (124,)
    assert task.extent_unit == "digits"
    with pytest.raises(UserError, match=r"can name 1000 positions an axis, but .* asks for 1204"):
        resolve(
            {"seqpe": {"positions": 1000}},
            {"length-generalization": {"problem": "addition", "evaluate": [400]}},
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"problem": "scan"}, "needs 'data'"),
        ({"problem": "scan", "data": "nowhere"}, "no folder 'nowhere'"),
        ({"problem": "scan-jump", "data": "nowhere"}, "no folder 'nowhere' to read SCAN's jump split from"),
        ({"problem": "copy", "data": "x"}, "takes no 'data'"),
        (
            {"problem": "scan-simple", "data": "x", "primitives": 9},
            "for the problem 'scan-jump', not for 'scan-s",
        ),
        ({"primitives": 9}, "for the problem 'scan-jump', not for 'copy'"),
        ({"problem": "scan-jump", "data": "x", "primitives": 1001}, "less than or equal to 1000"),
        ({"evaluate": [4, 2]}, "must rise"),
        ({"problem": "associative-recall", "extent": 300}, "keys for 256 pairs, not for 1200"),
        ({"problem": "sorting"}, "option 'problem'"),
    ],
)
def test_impossible_options_get_one_sentence(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _task(**options)


def test_scan_is_read_from_its_files(tmp_path: Path) -> None:
    commands = {"train": [1, 2, 3] * 30, "test": [24, 30]}
    for split, lengths in commands.items():
        lines = [f"IN: w{i} {'and ' * (i % 5)}OUT: {' '.join(['I_A'] * n)}\n" for i, n in enumerate(lengths)]
        (tmp_path / f"tasks_{split}_length.txt").write_text("".join(lines))
    task, model = _task(problem="scan", data=str(tmp_path), evaluate=[22, 30])
    assert {len(question.answer) for question in task._tested(30)} == {24, 30}
    assert {len(question.answer) for question in task._tested(22)} <= {1, 2, 3}
    assert not set(task._tested(22)) & set(task._scan["train"])
    assert task.evaluate(model, Extrapolation((30,))).scores["exact-match"] >= 0
    (tmp_path / "tasks_test_length.txt").write_text("nonsense\n")
    with pytest.raises(UserError, match=r"line 1: 'IN: … OUT: …' is expected"):
        _task(problem="scan", data=str(tmp_path))


def test_commands_of_the_jump_split_are_tested_whatever_their_lengths(tmp_path: Path) -> None:
    for split, commands in {"train": ["jump"] * 3 + ["walk twice"], "test": ["jump twice", "jump"]}.items():
        lines = [f"IN: {command} OUT: {' '.join(['I_A'] * len(command.split()))}\n" for command in commands]
        (tmp_path / f"tasks_{split}_addprim_jump.txt").write_text("".join(lines))
    task, model = _task(problem="scan-jump", data=str(tmp_path))
    assert task.trained_extent() == (48,)
    assert {" ".join(q.question) for q in task._tested(48)} == {"jump twice", "jump"}
    assert len(task._scan["train"]) == 4
    assert task.evaluate(model, Extrapolation((48,))).scores["exact-match"] >= 0


@pytest.fixture
def scan(tmp_path: Path) -> str:
    """A folder of SCAN in small."""
    return str(write_scan(tmp_path / "scan"))


def _commands(task: LengthGeneralization) -> list[tuple[str, list[str]]]:
    """Commands of twenty batches, and what they stand for."""
    drawn = [question for step in range(20) for question in task._drawn(0, "train", step, 64)]
    return [(" ".join(question.question), list(question.answer)) for question in drawn]


def test_jump_stands_alone_and_as_often_as_other_verbs_do(scan: str) -> None:
    task, _ = _task(problem="scan-jump", data=scan, primitives=5)
    drawn = [command for command, _ in _commands(task)]
    assert {command for command in drawn if "jump" in command.split()} == {"jump"}
    alone = Counter(command for command in drawn if " " not in command)
    assert len(alone) == 9
    assert min(alone.values()) > max(alone.values()) / 4


def test_commands_of_further_primitives_follow_the_grammar_and_none_of_these_is_rare(scan: str) -> None:
    task, _ = _task(problem="scan-jump", data=scan, primitives=5)
    counts = dict.fromkeys((*VERBS, *(f"primitive{number}" for number in range(1, 6))), 0)
    for command, answer in _commands(task):
        assert actions(command) == answer
        for verb in counts.keys() & set(command.split()):
            counts[verb] += 1
    assert min(counts.values()) > max(counts.values()) / 2


def test_the_published_jump_split_is_drawn_as_before_there_were_further_primitives(scan: str) -> None:
    task, _ = _task(problem="scan-jump", data=scan)
    chosen = torch.randint(len(task._scan["train"]), (64,), generator=generator(3, "batch", "train", 7))
    assert task._drawn(3, "train", 7, 64) == [task._scan["train"][number] for number in chosen.tolist()]


def test_the_same_commands_are_tested_with_further_primitives(scan: str) -> None:
    (few, _), (many, model) = (_task(problem="scan-jump", data=scan, primitives=n) for n in (0, 40))
    assert few._tested(48) == many._tested(48)
    assert len(many._ids) == len(few._ids) + 2 * 40
    assert many.evaluate(model, Extrapolation((48,))).scores["exact-match"] >= 0


def test_the_published_jump_split_keeps_its_run_id() -> None:
    task = {"problem": "scan-jump", "data": "x"}
    without, none, some = (
        resolve("rope", {"length-generalization": {**task, **more}})
        for more in ({}, {"primitives": 0}, {"primitives": 1})
    )
    assert without.run_id == none.run_id != some.run_id
    assert "primitives" not in none.task.options


def test_the_commands_of_the_tests_are_scans_own(shared_data: Path) -> None:
    files = scan_files("scan-simple", str(shared_data / "scan"))
    for question in read_scan(files["train"]):
        assert actions(" ".join(question.question)) == list(question.answer)


def test_scans_published_jump_split(shared_data: Path) -> None:
    task, _ = _task(problem="scan-jump", data=str(shared_data / "scan"), examples=8000)
    assert len(task._scan["train"]) == 14670
    assert len(task._tested(48)) == 7706


def test_scans_published_simple_split(shared_data: Path) -> None:
    task, _ = _task(problem="scan-simple", data=str(shared_data / "scan"), examples=8000)
    trained, tested = task._scan["train"], task._tested(48)
    assert (len(trained), len(tested)) == (16728, 4182)
    assert not set(trained) & set(tested)


def test_scans_published_length_split(shared_data: Path) -> None:
    task, _ = _task(problem="scan", data=str(shared_data / "scan"))
    assert max(len(question.answer) for question in task._scan["train"]) == 22
    tested = [question for question in task._scan["test"] if len(question.answer) > 22]
    assert len(tested) == 3920
    assert len(task._scan["train"]) + len(task._scan["test"]) - 3920 == 16990
    assert max(example.length for example in map(task._example, tested)) <= task.positions((48,))[0]
