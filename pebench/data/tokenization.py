"""From text to numbers and back: bytes, byte-level BPE, and whatever the `tokenizers` library can read."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pebench import atomic
from pebench.data.cache import digest, entry
from pebench.data.files import existing, place_of
from pebench.data.tables import GPT2_FILES, is_gpt2
from pebench.data.text import Corpus
from pebench.errors import UserError, join_and, quoted
from pebench.notation.unicode import whole
from pebench.specification.run_spec import Frozen

Ids = NDArray[np.unsignedinteger[Any]]
"""Token ids, as narrow as the vocabulary allows."""

_BYTES = 256
_FORMAT = 1
END_OF_TEXT = "<|endoftext|>"
"""The token between documents of a tokenizer that is made here."""

KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]")


class TokenizerChoice(Frozen):
    """Value of the option ``tokenizer``. Text alone is ``bytes``, ``bpe-8192`` (any size), ``gpt2``,
    ``words``, or the path of a ``tokenizer.json`` or of its folder.

    Attributes:
        name: ``bytes``; ``gpt2`` from the hub; or ``words``, for tasks that draw their texts: a token for
            each word, digit and mark that these can have.
        bpe: size of the vocabulary of a byte-level BPE, trained on the training split. A text that has no
            more pairs to merge gives a smaller one.
        gpt2: a folder that holds GPT-2's ``encoder.json`` and ``vocab.bpe``, or the same as ``vocab.json``
            and ``merges.txt``.
        file: a ``tokenizer.json`` of the `tokenizers` library, or its folder. What would make it random, the
            dropout of a BPE, is switched off.
        end_of_text: the token between documents, for a `file` in which it has an unusual name.
    """

    name: Literal["bytes", "gpt2", "words"] | None = None
    bpe: Annotated[int, Field(gt=_BYTES)] | None = None
    gpt2: str | None = None
    file: str | None = None
    end_of_text: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if sized := re.fullmatch(r"bpe-(\d+)", value):
            return {"bpe": int(sized[1])}
        if value not in ("bytes", "gpt2", "words"):
            path = existing(value)
            if path is not None and is_gpt2(path):
                return {"gpt2": value}
            # What names a variable is a path, whether or not it leads to something.
            if value.endswith(".json") or value.startswith("$") or path is not None:
                return {"file": value}
            raise ValueError(
                f"write 'bytes', 'gpt2', 'words' where all texts are generated, or 'bpe-' and a size as in "
                f"'bpe-8192', not {quoted(value)}; a tokenizer.json is named by its path"
            )
        return {"name": value}

    @model_validator(mode="after")
    def _one_tokenizer(self) -> TokenizerChoice:
        if sum(way is not None for way in (self.name, self.bpe, self.gpt2, self.file)) != 1:
            raise ValueError(
                "name one tokenizer: 'bytes', 'gpt2', or one of the options 'bpe', 'gpt2' and 'file'"
            )
        if self.end_of_text is not None and self.file is None:
            raise ValueError("'end_of_text' can only stand beside a 'file'")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, fields: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        if self.name is not None:
            return self.name
        if self.bpe is not None:
            return f"bpe-{self.bpe}"
        return {key: value for key, value in fields(self).items() if value is not None}


class Tokenizer(ABC):
    """Text to token ids and back.

    Attributes:
        vocabulary_size: ids are below it.
        end_of_text: the id that stands before, between and after documents; no text is encoded with it.
        byte_lengths: (vocabulary_size,) bytes of text that each id stands for, 0 for those that stand for
            none; None where a token does not always stand for the same number of bytes.
        fingerprint: equal for tokenizers that encode alike.
    """

    vocabulary_size: int
    end_of_text: int
    byte_lengths: NDArray[np.int64] | None
    fingerprint: str

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The narrowest type that holds every id."""
        return np.dtype(np.uint16) if self.vocabulary_size <= 1 << 16 else np.dtype(np.uint32)

    def encode(self, text: str) -> Ids:
        """(N,) ids of a text; names of special tokens in it are text like any other."""
        return self.encode_batch([text])[0]

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """(N,) ids of each text."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """The text that ids stand for; bytes that are no UTF-8 become U+FFFD, special tokens nothing."""


class ByteTokenizer(Tokenizer):
    """The bytes of UTF-8, and one id more for the end of a text."""

    vocabulary_size = _BYTES + 1
    end_of_text = _BYTES
    fingerprint = "bytes"
    byte_lengths: NDArray[np.int64]

    def __init__(self) -> None:
        self.byte_lengths = np.array([1] * _BYTES + [0])

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """(N,) bytes of each text."""
        return [np.frombuffer(whole(text).encode(), np.uint8).astype(np.uint16) for text in texts]

    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """The text that bytes spell."""
        return bytes(int(i) for i in ids if i < _BYTES).decode(errors="replace")


class LibraryTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library.

    Args:
        inner: the library's object.
        end_of_text: the token between documents.
        fingerprint: of the files that define it.
        vocabulary_size: ids that the model tells apart, where that is more than there are tokens.
    """

    def __init__(
        self, inner: Any, end_of_text: str, fingerprint: str, vocabulary_size: int | None = None
    ) -> None:
        vocabulary: dict[str, int] = inner.get_vocab(with_added_tokens=True)
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self.vocabulary_size = max(max(vocabulary.values()) + 1, vocabulary_size or 0)
        self.end_of_text_name = end_of_text
        self.end_of_text = vocabulary[end_of_text]
        self.byte_lengths = _byte_lengths(inner, vocabulary, self.vocabulary_size, self.end_of_text)
        self.fingerprint = fingerprint

    def encode(self, text: str) -> Ids:
        """(N,) ids of a text, by the thread that asks: for a batch the library wakes one for each core."""
        return np.array(self._inner.encode(whole(text), add_special_tokens=False).ids, self.dtype)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """(N,) ids of each text."""
        encodings = self._inner.encode_batch_fast([whole(text) for text in texts], add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encodings]

    def decode(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        """The text that ids stand for."""
        text: str = self._inner.decode(
            [int(i) for i in ids if i != self.end_of_text], skip_special_tokens=True
        )
        return text

    def definition(self) -> dict[str, Any]:
        """Description of the tokenizer, as in a ``tokenizer.json``."""
        definition: dict[str, Any] = json.loads(self._inner.to_str())
        return definition


def check_tokenizer(choice: TokenizerChoice) -> None:
    """Reads the files of a tokenizer, if it is one of files.

    Raises:
        UserError: they are not there or no tokenizer, or it fits drawn texts alone.
    """
    _refuse_words(choice)
    find_tokenizer(choice)


def find_tokenizer(choice: TokenizerChoice) -> None:
    """Reads the files of a tokenizer, if it is one of files; that of words has none.

    Raises:
        UserError: they are not there or no tokenizer.
    """
    if choice.gpt2 is not None or choice.file is not None:
        load_tokenizer(choice, Corpus("nothing", {}))


def load_tokenizer(choice: TokenizerChoice, corpus: Corpus) -> Tokenizer:
    """The tokenizer of a choice; a BPE is trained on the corpus unless the cache holds it already.

    Raises:
        UserError: a file is missing or is no tokenizer, or the corpus cannot be read.
    """
    _refuse_words(choice)
    if choice.bpe is not None:
        return _trained(choice.bpe, corpus)
    if choice.gpt2 is not None:
        return _gpt2_of_folder(Path(place_of(choice.gpt2)))
    if choice.file is not None:
        return _of_file(Path(place_of(choice.file)), choice.end_of_text)
    return _gpt2_of_hub() if choice.name == "gpt2" else ByteTokenizer()


def _refuse_words(choice: TokenizerChoice) -> None:
    if choice.name == "words":
        raise UserError(
            "the tokenizer 'words' is for tasks that draw their texts and so know every word: use 'bytes' or "
            "'bpe-8192'."
        )


def _trained(size: int, corpus: Corpus) -> Tokenizer:
    def train(folder: Path) -> dict[str, Any]:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        inner = _byte_level(Tokenizer(models.BPE()))
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(itertools.chain.from_iterable(corpus.pieces("train")), trainer)
        corpus.check_unchanged("train", text)
        atomic.write_text(folder / "tokenizer.json", inner.to_str())
        return {"corpus": corpus.name, "size": size}

    text = corpus.fingerprint("train")
    key = digest([_FORMAT, size, text])
    return _of_file(entry("tokenizers", key, train).folder / "tokenizer.json", END_OF_TEXT)


def _gpt2_of_folder(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer, models

    pairs = [(folder / vocabulary, folder / merges) for vocabulary, merges in GPT2_FILES]
    vocabulary, merges = next((pair for pair in pairs if pair[0].exists()), pairs[0])
    contents = [_read(vocabulary), _read(merges)]
    try:
        inner = _byte_level(Tokenizer(models.BPE.from_file(str(vocabulary), str(merges))))
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"'{folder}' does not hold GPT-2's tokenizer: {error}.") from error
    return LibraryTokenizer(inner, _end_of_text(inner, vocabulary, END_OF_TEXT), _fingerprint(*contents))


def _gpt2_of_hub() -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        inner = Tokenizer.from_pretrained("openai-community/gpt2")
    except OSError as error:
        raise UserError(
            "tokenizer 'gpt2' cannot be had from the hub: without a network write 'gpt2: FOLDER', a folder "
            "that holds encoder.json and vocab.bpe."
        ) from error
    return LibraryTokenizer(inner, END_OF_TEXT, _fingerprint(inner.to_str().encode()))


def _of_file(path: Path, end_of_text: str | None) -> Tokenizer:
    from tokenizers import Tokenizer

    path = path / "tokenizer.json" if path.is_dir() else path
    content = _read(path)
    try:
        inner = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"'{path}' is no file of the tokenizers library: {error}.") from error
    marks = [b"no dropout"] if settle(inner) else []
    return LibraryTokenizer(inner, _end_of_text(inner, path, end_of_text), _fingerprint(content, *marks))


def settle(inner: Any) -> bool:
    """Switches off what would make a tokenizer of the library encode the same text in another way each time.

    Returns:
        Whether there was something.
    """
    if not getattr(inner.model, "dropout", None):
        return False
    inner.model.dropout = None
    logging.getLogger("pebench.data").warning("the dropout of the tokenizer's BPE is switched off.")
    return True


def _end_of_text(inner: Any, path: Path, given: str | None) -> str:
    names = KNOWN_ENDS if given is None else (given,)
    found = next((name for name in names if inner.token_to_id(name) is not None), None)
    if found is None:
        hint = (
            "name the token between documents with 'end_of_text'" if given is None else "name one that it has"
        )
        raise UserError(f"the tokenizer in '{path}' has no token {join_and(names)}: {hint}.")
    return found


def _byte_level(inner: Any) -> Any:
    from tokenizers import decoders, pre_tokenizers

    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def _byte_lengths(
    inner: Any, vocabulary: dict[str, int], size: int, end_of_text: int
) -> NDArray[np.int64] | None:
    """The bytes of each token of a byte-level tokenizer, whose tokens are spelt with one character a byte."""
    if not _keeps_bytes(json.loads(inner.to_str()), vocabulary):
        return None
    lengths = np.zeros(size, np.int64)
    for token, number in vocabulary.items():
        lengths[number] = len(token)
    for number, token in inner.get_added_tokens_decoder().items():
        lengths[number] = 0 if token.special else len(token.content.encode())
    lengths[end_of_text] = 0
    return lengths


def _keeps_bytes(definition: dict[str, Any], vocabulary: dict[str, int]) -> bool:
    """Whether every byte of any text ends in exactly one token."""
    from tokenizers import pre_tokenizers

    outer = definition["pre_tokenizer"] or {}
    steps = outer.get("pretokenizers", [outer])
    byte_level = [step for step in steps if step.get("type") == "ByteLevel"]
    return (
        definition["normalizer"] is None
        and len(byte_level) == 1
        and not byte_level[0]["add_prefix_space"]
        and all(
            step["type"] in ("ByteLevel", "Digits") or step.get("behavior") == "Isolated" for step in steps
        )
        and definition["model"]["type"] == "BPE"
        and not definition["model"]["end_of_word_suffix"]
        and all(letter in vocabulary for letter in pre_tokenizers.ByteLevel.alphabet())
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the tokenizer file {quoted(str(path))} cannot be read: {error.strerror}."
        ) from error
    except ValueError as error:
        raise UserError(f"the tokenizer file {quoted(str(path))} cannot be read: {error}.") from error


def _fingerprint(*contents: bytes) -> str:
    return digest([hashlib.sha256(content).hexdigest() for content in contents])
