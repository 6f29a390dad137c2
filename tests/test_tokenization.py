"""Tokenizers: known ids, nothing lost on the way there and back, every byte accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.data.text import Corpus, TextSource, load_corpus
from pebench.data.tokenization import ByteTokenizer, Tokenizer, TokenizerChoice, load_tokenizer
from pebench.data.tokenizer_file import read_tokenizer, write_tokenizer
from pebench.errors import UserError
from pebench.specification.options import validated
from pebench.specification.run_spec import Frozen

ANY_TEXT = st.text() | st.text(st.sampled_from(list("<|endoftext|> ab\n\t\r'sé世😀\x00")))
NOTHING = Corpus("nothing", {})


class Options(Frozen):
    tokenizer: TokenizerChoice


def choice(written: Any) -> TokenizerChoice:
    return validated(Options, {"tokenizer": written}, "task 'reading'").tokenizer


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("english")
    (folder / "train.txt").write_text(
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be "
        "in want of a wife. However little known the feelings or views of such a man may be, this truth is "
        "so well fixed in the minds of the surrounding families.\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEBENCH_CACHE", str(folder / "cache"))
        yield load_corpus(TextSource(train=str(folder / "train.txt")))


@pytest.fixture(scope="module")
def bpe(english: Corpus) -> Tokenizer:
    return load_tokenizer(choice("bpe-300"), english)


@pytest.mark.parametrize(
    "written", ["bytes", "gpt2", "bpe-8192", {"gpt2": "folder"}, {"file": "a.json", "end_of_text": "</s>"}]
)
def test_a_choice_is_written_out_as_it_was_read(written: Any) -> None:
    assert choice(written).model_dump(mode="json") == written


def test_both_ways_to_write_a_bpe_are_one() -> None:
    assert choice({"bpe": 8192}) == choice("bpe-8192")


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("gpt-2", "write 'bytes', 'gpt2', 'words' .* or 'bpe-' and a size as in 'bpe-8192', not 'gpt-2'"),
        ("bpe-256", "greater than 256"),
        ({"fil": "a.json"}, "did you mean 'file'"),
        ({"bpe": 300, "file": "a.json"}, "name one tokenizer"),
        ({}, "name one tokenizer"),
        ({"gpt2": "folder", "end_of_text": "x"}, "'end_of_text' can only stand beside a 'file'"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_sentence(written: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        choice(written)


def test_bytes_are_their_own_ids() -> None:
    tokenizer = load_tokenizer(choice("bytes"), NOTHING)
    assert tokenizer.encode("aé").tolist() == [0x61, 0xC3, 0xA9]
    assert (tokenizer.vocabulary_size, tokenizer.end_of_text) == (257, 256)


@given(text=ANY_TEXT)
def test_bytes_lose_nothing(text: str) -> None:
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode([*ids, tokenizer.end_of_text]) == text
    assert tokenizer.byte_lengths[ids].sum() == len(text.encode())


@settings(deadline=None)
@given(text=ANY_TEXT)
def test_bpe_loses_nothing_and_accounts_for_every_byte(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert bpe.end_of_text not in ids
    assert bpe.byte_lengths is not None
    assert bpe.byte_lengths[ids].sum() == len(text.encode())


@given(texts=st.lists(st.text() | st.just("<|endoftext|> it says"), max_size=3))
@settings(max_examples=50, deadline=None)
def test_a_text_is_encoded_alone_as_among_others(bpe: Tokenizer, texts: list[str]) -> None:
    together = bpe.encode_batch(texts)
    for text, ids in zip(texts, together, strict=True):
        alone = bpe.encode(text)
        assert alone.dtype == ids.dtype
        assert alone.tolist() == ids.tolist()


def test_the_end_of_text_stands_for_nothing(bpe: Tokenizer) -> None:
    ids = [*bpe.encode("one"), bpe.end_of_text, *bpe.encode(" two")]
    assert bpe.decode(ids) == "one two"
    assert bpe.byte_lengths is not None
    assert bpe.byte_lengths[bpe.end_of_text] == 0


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert ByteTokenizer().decode([0x61, 0xC3]) == "a\ufffd"


def test_bpe_learns_from_the_training_text(english: Corpus, bpe: Tokenizer) -> None:
    assert bpe.vocabulary_size == 300
    assert len(bpe.encode("truth universally")) < len("truth universally")
    assert bpe.encode("truth").dtype == np.uint16


def test_bpe_is_trained_once_and_always_alike(
    english: Corpus, bpe: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_tokenizer(choice("bpe-300"), english).fingerprint == bpe.fingerprint
    assert load_tokenizer(choice("bpe-290"), english).fingerprint != bpe.fingerprint
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path))
    assert load_tokenizer(choice("bpe-300"), english).fingerprint == bpe.fingerprint


def test_gpt2_has_its_ids(shared_data: Path) -> None:
    gpt2 = load_tokenizer(choice({"gpt2": str(shared_data / "gpt2-bpe")}), NOTHING)
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.decode([15496, 995, 50256]) == "Hello world"
    assert (gpt2.vocabulary_size, gpt2.end_of_text) == (50257, 50256)
    assert gpt2.byte_lengths is not None
    assert gpt2.byte_lengths[[15496, 995, 50256]].tolist() == [5, 6, 0]

    @settings(deadline=None)
    @given(text=ANY_TEXT)
    def loses_nothing(text: str) -> None:
        ids = gpt2.encode(text)
        assert gpt2.decode(ids) == text
        assert gpt2.byte_lengths is not None
        assert gpt2.byte_lengths[ids].sum() == len(text.encode())

    loses_nothing()


def saved(path: Path, *, end: str, normalizer: Any = None) -> Path:
    """A byte-level BPE without merges as a file of the library."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens([end])
    tokenizer.enable_truncation(2)
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize("end", ["<|endoftext|>", "</s>", "[SEP]"])
def test_a_file_tells_its_end_of_text_by_name(tmp_path: Path, end: str) -> None:
    tokenizer = load_tokenizer(choice({"file": str(saved(tmp_path / "t.json", end=end))}), NOTHING)
    assert (tokenizer.vocabulary_size, tokenizer.end_of_text) == (257, 256)
    assert tokenizer.decode(tokenizer.encode(f"longer than two {end}")) == f"longer than two {end}"
    assert tokenizer.byte_lengths is not None


def test_an_unusual_end_of_text_must_be_given(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "t.json", end="<stop>"))
    assert load_tokenizer(choice({"file": path, "end_of_text": "<stop>"}), NOTHING).end_of_text == 256
    with pytest.raises(UserError, match="name the token between documents with 'end_of_text'"):
        load_tokenizer(choice({"file": path}), NOTHING)
    with pytest.raises(UserError, match="has no token '<halt>': name one that it has"):
        load_tokenizer(choice({"file": path, "end_of_text": "<halt>"}), NOTHING)


def test_a_tokenizer_that_rewrites_text_has_no_byte_lengths(tmp_path: Path) -> None:
    from tokenizers import normalizers

    path = saved(tmp_path / "t.json", end="</s>", normalizer=normalizers.NFC())
    assert load_tokenizer(choice({"file": str(path)}), NOTHING).byte_lengths is None


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(UserError, match=r"t\.json' is no file of the tokenizers library"):
        load_tokenizer(choice({"file": str(tmp_path / "t.json")}), NOTHING)
    with pytest.raises(UserError, match=r"none\.json' cannot be read: No such file"):
        load_tokenizer(choice({"file": str(tmp_path / "none.json")}), NOTHING)
    with pytest.raises(UserError, match=r"encoder\.json' cannot be read: No such file"):
        load_tokenizer(choice({"gpt2": str(tmp_path)}), NOTHING)
    (tmp_path / "encoder.json").write_text("{}")
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\n")
    with pytest.raises(UserError, match="does not hold GPT-2's tokenizer"):
        load_tokenizer(choice({"gpt2": str(tmp_path)}), NOTHING)


def test_gpt2_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="without a network write 'gpt2: FOLDER'"):
        load_tokenizer(choice("gpt2"), NOTHING)


def _with_dropout(path: Path, dropout: float | None) -> Path:
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, trainers

    inner: Any = Inner(models.BPE(dropout=dropout))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["the quick brown fox jumps over the lazy dog\n"] * 50, trainer)
    inner.save(str(path))
    return path


def test_the_dropout_of_a_tokenizer_is_switched_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = _with_dropout(tmp_path / "tokenizer.json", 0.3)
    found = load_tokenizer(choice(str(path)), NOTHING)
    text = "the quick brown fox"
    assert len({tuple(found.encode(text).tolist()) for _ in range(30)}) == 1
    assert "dropout of the tokenizer's BPE is switched off" in caplog.text
    write_tokenizer(tmp_path / "kept.json", found)
    assert read_tokenizer(tmp_path / "kept.json").encode(text).tolist() == found.encode(text).tolist()
    kept = json.loads((tmp_path / "kept.json").read_text())
    kept["definition"]["model"]["dropout"] = 0.5
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    again = read_tokenizer(tmp_path / "kept.json")
    assert len({tuple(again.encode(text).tolist()) for _ in range(30)}) == 1


def test_a_tokenizer_file_is_named_by_its_path_or_its_folder(tmp_path: Path) -> None:
    path = _with_dropout(tmp_path / "tokenizer.json", None)
    assert choice(str(path)) == choice({"file": str(path)})
    prints = {load_tokenizer(choice(written), NOTHING).fingerprint for written in (str(path), str(tmp_path))}
    assert len(prints) == 1
    with pytest.raises(UserError, match=r"the tokenizer file 'nowhere.json' cannot be read"):
        load_tokenizer(choice("nowhere.json"), NOTHING)


def test_half_a_pair_of_surrogates_becomes_the_replacement_character(bpe: Tokenizer) -> None:
    for tokenizer in (ByteTokenizer(), bpe):
        assert tokenizer.decode(tokenizer.encode("a \ud83d b \ude00")) == "a � b �"
        assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "😀"
