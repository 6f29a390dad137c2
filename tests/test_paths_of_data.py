"""Paths that options name: environment variables are filled in, whatever reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pebench.data.files import existing, filled_in, place_of
from pebench.data.images.source import ImageSource, check_pictures, find_pictures
from pebench.data.questions import QuestionSource, check_questions, find_questions
from pebench.data.scan import scan_files
from pebench.data.text import TextSource, check_text
from pebench.data.tokenization import TokenizerChoice, check_tokenizer
from pebench.errors import UserError
from pebench.pretrained.source import find_source

READERS: dict[str, Callable[[str], Any]] = {
    "pictures": lambda written: find_pictures(ImageSource.model_validate(written)),
    "text": lambda written: check_text(TextSource.model_validate(written), ("train",)),
    "questions": lambda written: find_questions(QuestionSource.model_validate(written)),
    "text of a split": lambda written: check_text(
        TextSource.model_validate({"train": written, "validation": written}), ("train",)
    ),
    "text of a set": lambda written: check_text(TextSource(dataset=written), ("train",)),
    "text of a table": lambda written: check_text(
        TextSource(dataset="json", files={"train": [written]}), ("train",)
    ),
    "questions of a split": lambda written: find_questions(QuestionSource(train=written)),
    "questions of a set": lambda written: check_questions(QuestionSource(dataset=written), ("train",)),
    "pictures of a set": lambda written: check_pictures(ImageSource(dataset=written), ("train",)),
    "scan": lambda written: scan_files("scan", written),
    "tokenizer": lambda written: check_tokenizer(TokenizerChoice.model_validate(written)),
    "tokenizer's file": lambda written: check_tokenizer(TokenizerChoice.model_validate({"file": written})),
    "GPT-2's tokenizer": lambda written: check_tokenizer(TokenizerChoice.model_validate({"gpt2": written})),
    "model": lambda written: find_source(f"hf:{written}"),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that holds something for every reader, each in a folder of its own."""
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "words.txt").write_text("Some words in a line.\n" * 200)
    (tmp_path / "questions").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "questions" / f"{split}-v1.1.json").write_text('{"data": []}')
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "rows.json").write_text('{"text": "Some words."}\n')
    (tmp_path / "scan").mkdir()
    for split in ("train", "test"):
        (tmp_path / "scan" / f"tasks_{split}_length.txt").write_text("IN: jump OUT: I_JUMP\n")
    return tmp_path


@pytest.mark.parametrize("reader", ["pictures", "text", "questions", "scan"])
def test_a_path_may_hold_an_environment_variable(
    reader: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_DATA", str(data))
    READERS[reader](f"$PLACE_OF_DATA/{reader}")
    READERS[reader](f"${{PLACE_OF_DATA}}/{reader}")


@pytest.mark.parametrize("reader", READERS)
def test_a_variable_that_is_not_set_is_told(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE_OF_DATA", raising=False)
    with pytest.raises(UserError) as told:
        READERS[reader]("$PLACE_OF_DATA/x")
    assert (
        str(told.value) == "'$PLACE_OF_DATA/x' names an environment variable that is not set, $PLACE_OF_DATA."
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("written", "said"), [("$PLACE_OF_DATA", ""), ("${PLACE_OF_DATA}/x", r", \$\{PLACE_OF_DATA}")]
)
def test_an_empty_variable_leads_nowhere_and_is_told_once(
    reader: str, written: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_DATA", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("The working folder holds text.\n" * 200)
    with pytest.raises(UserError, match=f"names an environment variable that is empty{said}\\.$"):
        READERS[reader](written)


def test_a_variable_in_the_name_of_a_model_is_no_name_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE_OF_DATA", raising=False)
    with pytest.raises(UserError, match="names an environment variable that is not set, "):
        find_source("hf:models-$PLACE_OF_DATA/small")


def test_tables_of_the_datasets_library_are_found_by_a_variable(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_DATA", str(data))
    READERS["text of a table"]("$PLACE_OF_DATA/table/rows.json")
    READERS["text of a table"]("$PLACE_OF_DATA/table/*.json")
    READERS["text of a set"]("$PLACE_OF_DATA/table")
    assert place_of("https://example.org//~x/rows.json") == "https://example.org//~x/rows.json"


@pytest.mark.parametrize("reader", ["pictures", "text", "questions", "scan", "model"])
def test_where_nothing_is_the_sentence_says_where_a_variable_leads(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a$b"
    place.mkdir()
    monkeypatch.setenv("PLACE_OF_DATA", str(place))
    with pytest.raises(UserError) as told:
        READERS[reader]("$PLACE_OF_DATA/x")
    assert f"'$PLACE_OF_DATA/x' ('{place}/x')" in str(told.value)
    assert "environment variable" not in str(told.value)


def test_what_lies_beside_where_a_variable_leads_is_suggested(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_DATA", str(data / "text"))
    with pytest.raises(UserError, match=r"did you mean '.*text/words\.txt'"):
        READERS["text"]("$PLACE_OF_DATA/word.txt")


def test_a_file_may_have_a_dollar_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a$b").write_text("x")
    assert existing(str(tmp_path / "a$b")) == tmp_path / "a$b"


def test_nobodys_home_stays_as_it_was_written() -> None:
    assert filled_in("~nobody-at-all/x") == Path("~nobody-at-all/x")
    assert existing("~nobody-at-all/x") is None
    assert existing("~no\0body/x") is None
