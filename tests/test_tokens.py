"""Token streams: laid out as promised, built once, whole after any accident."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references.word_counts import count_words

from pebench.data.cache import cache_folder
from pebench.data.pieces import PIECE
from pebench.data.text import Corpus, TextSource, load_corpus
from pebench.data.tokenization import ByteTokenizer, Ids, TokenizerChoice, load_tokenizer
from pebench.data.tokens import TokenStream, token_stream
from pebench.errors import UserError

END = ByteTokenizer.end_of_text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEBENCH_CACHE", str(folder))
    return folder


def corpus_of(folder: Path, *documents: str) -> Corpus:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(documents):
        (folder / f"{number:03}.txt").write_text(text, newline="")
    return load_corpus(TextSource(train=str(folder)))


def spelt(stream: TokenStream) -> list[int]:
    return [int(token) for token in stream.tokens]


def test_documents_stand_between_ends_of_text(tmp_path: Path) -> None:
    stream = token_stream(corpus_of(tmp_path / "texts", "ab", "c\n"), ByteTokenizer(), "train")
    assert spelt(stream) == [END, *b"ab", END, *b"c\n", END]
    assert stream.documents.tolist() == [1, 4]
    assert (len(stream), stream.bytes, stream.words) == (7, 4, 4)
    assert stream.tokens.dtype == np.uint16


@given(
    documents=st.lists(
        st.text(st.sampled_from("ab \n\u00a0é"), min_size=1, max_size=20), min_size=1, max_size=5
    )
)
def test_sizes_are_those_of_the_documents(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> None:
    corpus = corpus_of(tmp_path_factory.mktemp("texts"), *documents)
    stream = token_stream(corpus, ByteTokenizer(), "train")
    assert stream.words == sum(map(count_words, documents))
    assert stream.bytes == sum(len(text.encode()) for text in documents)
    assert spelt(stream) == [END, *(i for text in documents for i in (*text.encode(), END))]


def test_long_documents_are_one_document(tmp_path: Path) -> None:
    text = "a word and\nanother, " * (PIECE // 5)
    stream = token_stream(corpus_of(tmp_path / "texts", text), ByteTokenizer(), "train")
    assert bytes(stream.tokens[1:-1].astype(np.uint8)).decode() == text
    assert stream.documents.tolist() == [1]
    assert stream.words == count_words(text)


def test_an_empty_split_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "texts", "")
    for _ in range(2):
        with pytest.raises(UserError, match=r"split 'train' of '.+' is empty"):
            token_stream(corpus, ByteTokenizer(), "train")
    assert not list(cache_folder().glob("tokens/*/[!.]*"))


class Counting(ByteTokenizer):
    """Notes each call in a file that processes share, and takes its time over it."""

    def __init__(self, notes: Path, seconds: float = 0.0) -> None:
        super().__init__()
        self.notes, self.seconds = notes, seconds

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        with self.notes.open("a") as file:
            file.write("called\n")
        time.sleep(self.seconds)
        return super().encode_batch(texts)


def test_a_stream_is_built_once_for_equal_text_and_tokenizer(tmp_path: Path) -> None:
    tokenizer = Counting(tmp_path / "notes")
    one = token_stream(corpus_of(tmp_path / "here", "text"), tokenizer, "train")
    other = token_stream(corpus_of(tmp_path / "there", "text"), tokenizer, "train")
    assert one.fingerprint == other.fingerprint
    assert spelt(one) == spelt(other)
    assert tokenizer.notes.read_text() == "called\n"


def test_short_documents_are_encoded_together(tmp_path: Path) -> None:
    """A call for each took up to eight times as long."""
    tokenizer = Counting(tmp_path / "notes")
    texts = ["a", "bc", "d" * PIECE, "ef"]
    stream = token_stream(corpus_of(tmp_path / "texts", *texts), tokenizer, "train")
    assert tokenizer.notes.read_text() == "called\n" * 2
    assert spelt(stream) == [token for text in texts for token in (END, *text.encode())] + [END]


def test_a_changed_text_is_another_stream(tmp_path: Path) -> None:
    before = token_stream(corpus_of(tmp_path / "texts", "text"), ByteTokenizer(), "train")
    after = token_stream(corpus_of(tmp_path / "texts", "TEXT"), ByteTokenizer(), "train")
    assert before.fingerprint != after.fingerprint
    assert spelt(after)[1:-1] == list(b"TEXT")


class Meddling(ByteTokenizer):
    """Changes the text while it is being encoded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        self.path.write_text("another text")
        return super().encode_batch(texts)


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "texts", "text")
    with pytest.raises(UserError, match="changed while it was read"):
        token_stream(corpus, Meddling(tmp_path / "texts" / "000.txt"), "train")
    assert spelt(token_stream(corpus, ByteTokenizer(), "train"))[1:-1] == list(b"another text")


def build(texts: Path, notes: Path, seconds: float, together: Barrier) -> None:
    corpus = load_corpus(TextSource(train=str(texts)))
    together.wait()
    stream = token_stream(corpus, Counting(notes, seconds), "train")
    with notes.with_name(f"{notes.name}.lengths").open("a") as file:
        file.write(f"{len(stream)}\n")


def test_of_workers_that_start_together_one_builds(tmp_path: Path) -> None:
    text = "many words " * 200_000
    corpus = corpus_of(tmp_path / "texts", text)
    notes = tmp_path / "notes"
    spawn = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "texts", notes, 0.02, spawn.Barrier(3))
    workers = [spawn.Process(target=build, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    pieces = sum(1 for document in corpus.pieces("train") for _ in document)
    assert len(notes.read_text().splitlines()) == pieces, "each is encoded once"
    assert (tmp_path / "notes.lengths").read_text().split() == [str(len(text) + 2)] * 3


def test_a_killed_builder_leaves_no_broken_stream(tmp_path: Path) -> None:
    text = "many words " * 200_000
    corpus = corpus_of(tmp_path / "texts", text)
    notes = tmp_path / "notes"
    spawn = multiprocessing.get_context("spawn")
    alone = spawn.Barrier(1)
    worker = spawn.Process(target=build, args=(tmp_path / "texts", notes, 30.0, alone))
    worker.start()
    while worker.is_alive() and not notes.exists():
        time.sleep(0.01)
    worker.kill()
    worker.join()
    assert list(cache_folder().glob("tokens/*/.tokens.bin.*.tmp")), "it was killed while it wrote"
    stream = token_stream(corpus, ByteTokenizer(), "train")
    assert bytes(stream.tokens[1:-1].astype(np.uint8)).decode() == text
    assert sorted(file.name for file in cache_folder().glob("tokens/*/[!.]*")) == [
        "documents.npy",
        "metadata.json",
        "tokens.bin",
    ]
    assert not list(cache_folder().glob("tokens/*/.*.tmp"))


def test_bytes_of_wikipedia_add_up_under_a_trained_bpe(shared_data: Path) -> None:
    corpus = load_corpus(
        TextSource(
            train=str(shared_data / "squad-wiki-lm" / "valid.txt.xz"),
            test=str(shared_data / "squad-wiki-lm" / "test.txt.xz"),
        )
    )
    tokenizer = load_tokenizer(TokenizerChoice(bpe=2048), corpus)
    stream = token_stream(corpus, tokenizer, "test")
    text = "".join(next(corpus.pieces("test")))
    assert tokenizer.byte_lengths is not None
    assert tokenizer.byte_lengths[stream.tokens].sum() == stream.bytes == len(text.encode())
    assert stream.tokens[1:-1].tolist() == tokenizer.encode(text).tolist()
    assert tokenizer.decode(stream.tokens) == text
    assert stream.bytes / len(stream) > 2.5
