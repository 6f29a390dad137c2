"""Short texts are encoded once, and as their tokenizer does."""

from __future__ import annotations

import pytest

from pebench.data import phrases as module
from pebench.data.phrases import phrases
from pebench.data.tokenization import ByteTokenizer, Ids


class Counting(ByteTokenizer):
    """Bytes, and how many texts were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(self, text: str) -> Ids:
        """As bytes."""
        self.asked.append(text)
        return super().encode(text)


def test_a_phrase_is_encoded_once() -> None:
    tokenizer = Counting()
    ids = phrases(tokenizer)
    assert [ids("anchor"), ids(" ü"), ids("anchor")] == [
        list(b"anchor"),
        list(" ü".encode()),
        list(b"anchor"),
    ]
    assert tokenizer.asked == ["anchor", " ü"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    tokenizer = Counting()
    ids = phrases(tokenizer)
    for text in ("a", "b", "c", "a"):
        assert ids(text) == list(text.encode())
    assert tokenizer.asked == ["a", "b", "c", "a"]
