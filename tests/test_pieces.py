"""Cutting long text changes nothing that a tokenizer sees."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.data.pieces import cut
from pebench.data.text import Corpus
from pebench.data.tokenization import Tokenizer, TokenizerChoice, load_tokenizer

WORDS = st.text(st.sampled_from("ab1.' \n\t\r\u00a0\u3000\x1c'sé世"), max_size=60)


@given(text=st.text(max_size=200) | WORDS, size=st.integers(1, 20))
def test_pieces_join_to_the_text(text: str, size: int) -> None:
    assert "".join(cut([text], size)) == text


@given(chunks=st.lists(WORDS, max_size=8), size=st.integers(1, 20))
def test_pieces_do_not_depend_on_the_chunks(chunks: list[str], size: int) -> None:
    assert list(cut(chunks, size)) == list(cut(["".join(chunks)], size))


@given(text=WORDS, size=st.integers(1, 20))
def test_no_piece_but_the_last_is_shorter_than_asked(text: str, size: int) -> None:
    assert all(len(piece) >= size for piece in list(cut([text], size))[:-1])


def test_pieces_are_bounded_where_there_are_spaces() -> None:
    assert max(len(piece) for piece in cut(["a word " * 1000], 64)) < 64 + len("a word ")


def test_pieces_encode_like_the_whole(shared_data: Path) -> None:
    choice = TokenizerChoice(gpt2=str(shared_data / "gpt2-bpe"))
    gpt2: Tokenizer = load_tokenizer(choice, Corpus("nothing", {}))

    @settings(deadline=None)
    @given(text=WORDS, size=st.integers(1, 5))
    def holds(text: str, size: int) -> None:
        pieces = gpt2.encode_batch(list(cut([text], size)))
        assert [i for ids in pieces for i in ids] == list(gpt2.encode(text))

    holds()
