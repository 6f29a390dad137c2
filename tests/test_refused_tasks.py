"""What a task cannot draw is refused before a run begins, with what would be right."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from processes.mistakes import sentence

from pebench.errors import UserError
from pebench.plugins.registry import tasks
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.task_bases.sequence_task import NOT_ASKED, SequenceTask

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "associative-recall": [{"pairs": 1}, {"pairs": 1, "between": "random"}],
    "repeated-recall": [{"back": 2, "keys": 2}, {"back": 1, "keys": 1}],
    "n-back": [{"back": 3}, {"back": 1}],
    "flip-flop": [{}, {"sparse": 0.999}],
    "word-problem": [{"group": "a5"}, {"group": "s5", "elements": "swaps"}],
    "dyck": [{"depth": 1}, {"persistence": 0.99}],
    "position-probe": [
        {"question": question} for question in ("index", "indirect", "count", "pairs", "distance")
    ],
    "phone-book": [{}, {"name": 1, "digits": 1, "asked": 3}],
}
"""Sequences that are asked for in few tokens."""

CASES = [(name, options) for name, several in SETTINGS.items() for options in several]
FEW = range(1, 25)


def _refused(name: str, options: dict[str, Any]) -> str:
    """Why a task is refused; nothing if it is not."""
    try:
        resolve("none", {name: options})
    except UserError as error:
        return str(error)
    return ""


def _of_length(options: dict[str, Any], extent: int, evaluated: bool) -> dict[str, Any]:
    """Options with one extent, trained or evaluated, that may be too short."""
    return options | ({"evaluate": [extent]} if evaluated else {"extent": extent, "evaluate": [extent]})


def test_every_task_of_sequences_is_tried() -> None:
    assert {n for n in tasks.origins() if issubclass(tasks.load(n), SequenceTask)} == set(SETTINGS)


@pytest.mark.parametrize("evaluated", [False, True], ids=["trained", "evaluated"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_sequences_of_every_length_ask_for_something_or_are_refused_with_a_length_that_is_not(
    name: str, options: dict[str, Any], evaluated: bool
) -> None:
    reasons = {extent: _refused(name, _of_length(options, extent, evaluated)) for extent in FEW}
    taken = [extent for extent, reason in reasons.items() if not reason]
    assert taken
    for extent in taken:
        task = build_task(resolve("none", {name: _of_length(options, extent, evaluated)}))
        assert isinstance(task, SequenceTask)
        for variant in task.variants:
            drawn = task.draw(extent, 20, generator(0, "test"), variant)
            assert drawn.tokens.shape == (20, extent)
            assert bool((drawn.answers != NOT_ASKED).any(1).all()), extent
    for extent, reason in reasons.items():
        if reason and extent > 1:
            assert {int(number) for number in re.findall(r"\d+", reason)} & set(taken), reason


WORDS = ["retrieval", "word-frequency", "length-generalization"]
DRAWN = [*SETTINGS, *WORDS, "picture-probe", "video-classification"]
"""Tasks that no data bound."""

BESIDE: dict[tuple[str, str], dict[str, Any]] = {("retrieval", "asked"): {"variant": "multi-key"}}
"""What an option needs beside it."""


def _counts(kind: Any) -> bool:
    """Whether an option is a whole number."""
    if get_origin(kind) is Annotated:
        return _counts(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return any(map(_counts, get_args(kind)))
    return kind is int


NUMBERS = [
    (name, option)
    for name in DRAWN
    for option, field in tasks.load(name).Options.model_fields.items()
    if _counts(field.annotation)
]


BAD = {"negative": -1, "zero": 0, "huge": 10**12}
MAY_BE_NONE = {("length-generalization", "primitives")}
"""Options that may be zero."""


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        pytest.param(name, option, value, id=f"{name}-{option}-{which}")
        for name, option in NUMBERS
        for which, value in BAD.items()
        if value or (name, option) not in MAY_BE_NONE
    ],
)
def test_numbers_that_nothing_can_be_drawn_for_are_refused(name: str, option: str, value: int) -> None:
    assert _refused(name, {option: value} | BESIDE.get((name, option), {}))


@pytest.mark.parametrize(
    ("name", "options", "right"),
    [
        ("associative-recall", {"vocabulary": 8}, {"vocabulary": 34}),
        ("n-back", {"back": 64}, {"back": 63}),
        ("position-probe", {"reach": 1000}, {"reach": 244}),
        ("retrieval", {"variant": "multi-key", "needles": 10, "digits": 1}, {"needles": 9}),
        ("retrieval", {"variant": "multi-key", "needles": 10, "digits": 1}, {"digits": 2}),
        ("retrieval", {"variant": "two-hop", "needles": 16, "extent": 1024}, {"needles": 12}),
        ("length-generalization", {"problem": "associative-recall", "evaluate": [300]}, {"evaluate": [256]}),
        ("language-modeling", {"extent": 64, "evaluate": [128], "offsets": [5]}, {"evaluate": [64, 128]}),
        ("language-modeling", {"extent": 64, "offsets": [1 << 25]}, {"offsets": [16_777_152]}),
    ],
    ids=str,
)
def test_a_refusal_names_a_number_that_is_right(
    name: str, options: dict[str, Any], right: dict[str, Any]
) -> None:
    reason = _refused(name, options)
    assert all(number in reason for number in re.findall(r"\d+", str(right))[:1]), reason
    assert not _refused(name, options | right)


def test_an_odd_grid_of_quarters_is_answered_with_the_next_even_one() -> None:
    options = {"question": "jigsaw", "extent": [5, 8]}
    assert _refused("picture-probe", options).endswith("take 6×8.")
    assert not _refused("picture-probe", options | {"extent": [6, 8]})


def test_a_tokenizer_of_generated_texts_is_named_where_another_is_misspelt() -> None:
    assert "'words'" in _refused("retrieval", {"tokenizer": "word"})


def test_the_command_line_answers_in_one_sentence_and_leaves_nothing_behind(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    told = sentence(
        ["run", "--encoding", "rope", "--task", "flip-flop", "--set", "task.evaluate=[2]"], capsys
    )
    assert told == (
        "pebench: task 'flip-flop': an instruction to write and one to read need 4 tokens, and there are 2.\n"
    )
    assert sorted(place.rglob("*")) == before
