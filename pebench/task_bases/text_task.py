"""Bases of the tasks in which a decoder reads text with the tokenizer that a run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from pebench.data.tokenization import Tokenizer, TokenizerChoice
from pebench.data.tokenizer_file import TOKENIZER_FILE, read_tokenizer, write_tokenizer
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import PositionEncoding
from pebench.task_bases.decoder_task import AnsweringTask, DecoderTask, Extents

TextOptions = TypeVar("TextOptions", bound=Extents)


class TextTask(DecoderTask[TextOptions]):
    """A decoder for the vocabulary of a tokenizer, which is kept with a run."""

    def __init__(self, options: TextOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._inherited: Tokenizer | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """That of the texts."""
        return self._tokenizer

    def keep(self, folder: Path) -> None:
        """Writes the tokenizer."""
        assert self._tokenizer is not None, "prepare() comes first"
        write_tokenizer(folder / TOKENIZER_FILE, self._tokenizer)

    def restore(self, folder: Path) -> dict[str, str]:
        """Reads the tokenizer."""
        # For data that is read later, too: a run that took it over from another does not name it.
        self.inherit(folder)
        tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
        self.set_tokenizer(tokenizer)
        return {"tokenizer": tokenizer.fingerprint}

    def set_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Takes a tokenizer for all texts to come."""
        self._tokenizer = tokenizer

    def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
        """The decoder for the tokenizer's vocabulary."""
        assert self._tokenizer is not None, "prepare() or restore() comes first"
        size = self._tokenizer.vocabulary_size
        return Decoder(self.geometry(), size, encoding, self.model, seed)


class AnswersOptions(Extents, Protocol):
    """Options of a task whose tokenizer is by default that of the run it starts from."""

    @property
    def tokenizer(self) -> TokenizerChoice | None: ...


AnswerOptions = TypeVar("AnswerOptions", bound=AnswersOptions)


class TextAnswers(AnsweringTask[AnswerOptions], TextTask[AnswerOptions]):
    """A decoder that answers questions about a text."""

    def inherit(self, folder: Path) -> None:
        """Takes over the tokenizer, unless one is asked for.

        Raises:
            UserError: it cannot be read.
        """
        if self.options.tokenizer is None:
            self._inherited = read_tokenizer(folder / TOKENIZER_FILE)
