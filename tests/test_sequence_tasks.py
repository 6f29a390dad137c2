"""Tasks of drawn sequences: a reader by the rules answers everything, and draws are those of the papers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from pebench.errors import UserError
from pebench.plugins.registry import tasks
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.task_bases.sequence_task import NOT_ASKED, SequenceTask
from pebench.tasks.position_probe import LETTERS

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "associative-recall": [{}, {"extent": 48, "pairs": 8, "vocabulary": 128}],
    "repeated-recall": [{}, {"back": 3, "keys": 2, "values": 5, "extent": 20}],
    "n-back": [{}, {"back": 3, "vocabulary": 5, "extent": 20}],
    "flip-flop": [{"extent": 64}, {"extent": 16, "ignored": 0.0}],
    "word-problem": [
        *({"group": group} for group in ("a5", "s5", "s3", "z60")),
        {"group": "s5", "elements": "swaps"},
    ],
    "dyck": [{}, {"kinds": 2, "depth": 1}, {"persistence": 0.9}],
    "position-probe": [
        {"question": question} for question in ("index", "indirect", "count", "pairs", "distance")
    ],
    "phone-book": [{}, {"name": 1, "digits": 2, "extent": 64, "evaluate": [64], "asked": 3}],
}
CASES = [(name, options) for name, several in SETTINGS.items() for options in several]


def _task(name: str, options: dict[str, Any]) -> SequenceTask[Any]:
    task = build_task(resolve("none", {name: options}))
    assert isinstance(task, SequenceTask)
    return task


def _associative_recall(read: list[int], options: Any) -> int | None:
    pairs = options.pairs_of(options.extent)
    book = dict(zip(read[0 : 2 * pairs : 2], read[1 : 2 * pairs : 2], strict=True))
    return book.get(read[-1])


def _repeated_recall(read: list[int], options: Any) -> int | None:
    former = [value for key, value in zip(read[:-1:2], read[1::2], strict=True) if key == read[-1]]
    found: int = former[-options.back]
    return found


def _n_back(read: list[int], options: Any) -> int | None:
    back: int = options.back
    return read[-1 - back]


def _flip_flop(read: list[int], options: Any) -> int | None:
    orders, bits = read[::2], read[1::2]
    found: int = [bit for order, bit in zip(orders, bits, strict=False) if order == 2][-1]
    return found


def _word_problem(read: list[int], options: Any) -> int | None:
    mark, *read = read
    assert mark not in read
    if options.group == "z60":
        return sum(read) % 60
    size = int(options.group[1])
    elements = [e for e in permutations(range(size)) if options.group[0] == "s" or _sign(e) == 1]
    product = tuple(range(size))
    for element in read:
        product = tuple(elements[element][i] for i in product)
    return elements.index(product)


def _sign(element: tuple[int, ...]) -> int:
    return round(float(torch.linalg.det(torch.eye(len(element), dtype=torch.float64)[list(element)])))


def _dyck(read: list[int], options: Any) -> int | None:
    stack: list[int] = []
    for token in read:
        if token >= options.kinds:
            stack.pop()
        else:
            stack.append(token)
    kinds: int = options.kinds
    return stack[-1] + kinds


def _position_probe(read: list[int], options: Any) -> int | None:
    ask = read.index(12)
    text, asked = read[:ask], read[ask + 1 :]
    mark = 14 + options.letters - 2

    def number(tokens: list[int]) -> int:
        return int("".join(map(str, tokens)))

    match options.question:
        case "index":
            answer = [text[number([t for t in asked if t < 10]) - 1], 13]
            given = [t for t in asked if t >= 10]
        case "indirect":
            places = number([t for t in asked[2:] if t < 10])
            answer = [text[text.index(mark) + (places if asked[1] == 10 else -places)], 13]
            given = [t for t in asked[2:] if t >= 10]
        case "count":
            answer, given = [*map(int, str(text.count(mark))), 13], asked[1:]
        case "pairs":
            found = sum(text[i : i + 2] == [mark, mark + 1] for i in range(len(text)))
            answer, given = [*map(int, str(found)), 13], asked[2:]
        case _:
            apart = text.index(mark + 1) - text.index(mark)
            answer, given = [10 if apart > 0 else 11, *map(int, str(abs(apart))), 13], asked[2:]
    return answer[len(given)]


def _phone_book(read: list[int], options: Any) -> int | None:
    ask = read.index(10)
    entry = options.name + options.digits
    book = {
        tuple(read[i : i + options.name]): read[i + options.name : i + entry] for i in range(0, ask, entry)
    }
    last = len(read) - read[::-1].index(10)
    name, given = tuple(read[last:][: options.name]), read[last + options.name :]
    return [*book[name], 11][len(given)]


READERS: dict[str, Callable[[list[int], Any], int | None]] = {
    "associative-recall": _associative_recall,
    "repeated-recall": _repeated_recall,
    "n-back": _n_back,
    "flip-flop": _flip_flop,
    "word-problem": _word_problem,
    "dyck": _dyck,
    "position-probe": _position_probe,
    "phone-book": _phone_book,
}


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_reader_by_the_rules_answers_everything(name: str, options: dict[str, Any]) -> None:
    task = _task(name, options)
    for variant in task.variants:
        drawn = task.draw(task.options.extent, 5, generator(0, "test"), variant)
        assert drawn.tokens.shape == drawn.answers.shape == (5, task.options.extent)
        assert int(drawn.tokens.max()) < task.symbols
        asked = (drawn.answers != NOT_ASKED).nonzero().tolist()
        assert {row for row, _ in asked} == set(range(5))
        for row, place in asked:
            read = drawn.tokens[row, : place + 1].tolist()
            assert READERS[name](read, task.options) == int(drawn.answers[row, place])


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_batches_are_functions_of_seed_and_step(name: str, options: dict[str, Any]) -> None:
    task = _task(name, options)

    def batch(seed: int, step: int) -> Tensor:
        return task.batch(seed, "train", step, 4)["tokens"]

    assert torch.equal(batch(1, 5), batch(1, 5))
    assert not torch.equal(batch(1, 5), batch(1, 6))
    assert not torch.equal(batch(1, 5), batch(2, 5))


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_where_answers_end_with_a_mark_it_is_not_the_headline(name: str, options: dict[str, Any]) -> None:
    task = _task(name, options)
    drawn = task.draw(task.options.extent, 50, generator(0, "test"), "")
    ends = [int(row[row != NOT_ASKED][-1]) for row in drawn.answers]
    headline = "exact-match" if len(set(ends)) == 1 else "accuracy"
    assert task.metrics()[0].name == headline


def test_every_sequence_task_is_tried_here() -> None:
    found = {name for name in tasks.origins() if issubclass(tasks.load(name), SequenceTask)}
    assert found == set(SETTINGS)


def test_questions_of_associative_recall_come_soon_more_often_than_late() -> None:
    task = _task("associative-recall", {"extent": 256, "pairs": 16, "evaluate": [256]})
    answers = task.draw(256, 200, generator(0, "test"), "").answers
    places = (answers != NOT_ASKED).nonzero()[:, 1]
    assert int((places < 144).sum()) > int((places >= 144).sum())
    assert set((places % 2).tolist()) == {0}


def test_shares_of_ignored_instructions_are_the_published_ones() -> None:
    task = _task("flip-flop", {})
    for variant, ignored in zip(task.variants, (0.8, 0.98, 0.1), strict=True):
        orders = task.draw(512, 50, generator(0, "test"), variant).tokens[:, 2:-2:2]
        assert float((orders == 4).float().mean()) == pytest.approx(ignored, abs=0.02)


def test_persistent_words_of_dyck_go_deep_and_close_what_was_opened_long_ago() -> None:
    def nearest(persistence: float) -> float:
        """The share of closing brackets that stand right behind the one they close."""
        task = _task("dyck", {"persistence": persistence})
        closes = task.draw(256, 50, generator(0, "test"), "").tokens >= task.options.kinds
        return float((closes[:, 1:] & ~closes[:, :-1]).sum() / closes.sum())

    assert 0.5 < nearest(0.5) < 0.6
    assert nearest(0.9) < 0.25


def test_how_many_pairs_there_are_cannot_be_told_from_the_number_of_letters() -> None:
    task = _task("position-probe", {"question": "pairs", "extent": 32})
    drawn = task.draw(32, 100, generator(0, "test"), "")
    first, second = (drawn.tokens[:, :23] == LETTERS + task.options.letters - k for k in (2, 1))
    assert set(first.sum(1).tolist()) == set(second.sum(1).tolist()) == {5}
    found = (first[:, :-1] & second[:, 1:]).sum(1)
    assert {*range(6)} == set(found.tolist())


def test_words_of_swaps_have_ten_of_them_and_what_changes_nothing_and_reach_every_element() -> None:
    task = _task("word-problem", {"group": "s5", "elements": "swaps"})
    drawn = task.draw(16, 500, generator(0, "test"), "")
    elements = list(permutations(range(5)))
    moved = [sum(i != e for i, e in enumerate(elements[k])) for k in drawn.tokens[:, 1:].unique().tolist()]
    assert sorted(moved) == [0, *[2] * 10]
    assert len(drawn.answers[:, 1:].unique()) == 120


def test_books_have_long_names_of_many_syllables_too() -> None:
    task = _task("phone-book", {"name": 12, "syllables": 64, "extent": 200, "evaluate": [200]})
    tokens = task.draw(200, 3, generator(0, "test"), "").tokens
    books = [[tuple(row[i : i + 12]) for i in range(0, 11 * 16, 16)] for row in tokens.tolist()]
    assert [len(set(names)) for names in books] == [11] * 3
    assert {*books[0]}.isdisjoint(books[1])


@pytest.mark.parametrize("spread", [0.001, 1.0, 16.0])
def test_keys_are_asked_for_at_every_spread(spread: float) -> None:
    task = _task("associative-recall", {"extent": 4096, "evaluate": [4096], "pairs": 1024, "spread": spread})
    answers = task.draw(4096, 2, generator(0, "test"), "").answers
    assert (answers != NOT_ASKED).sum(1).tolist() == [1024] * 2


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ({"associative-recall": {"pairs": 32}}, "need 128 tokens, and there are 64"),
        ({"n-back": {"back": 64}}, "no token stands 64 before another"),
        ({"flip-flop": {"extent": 33}}, "33 must be even"),
        ({"position-probe": {"extent": 8}}, "need 16 tokens"),
        ({"position-probe": {"question": "count", "reach": 3}}, "'reach' is for the question 'indirect'"),
        ({"associative-recall": {"spread": 400}}, "less than or equal to 16"),
        ({"phone-book": {"extent": 10}}, "need 13 tokens"),
        ({"phone-book": {"name": 1, "syllables": 4}}, "names, and there are 4"),
        ({"dyck": {"evaluate": [64, 32]}}, "must rise"),
        ({"word-problem": {"group": "a5", "elements": "swaps"}}, "'a5' has no swaps"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(task: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        resolve("none", task)
