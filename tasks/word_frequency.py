"""Word frequency: a long list of words, of which those are asked for that stand in it most often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from pebench.data.tokenization import Tokenizer, TokenizerChoice
from pebench.data.word_lists import (
    CODES,
    DOTS,
    LEXICON,
    common_counts,
    draw_words,
    filling_counts,
    shuffled,
)
from pebench.errors import UserError
from pebench.specification.options import Added
from pebench.task import MOST
from pebench.task_bases.decoder_task import ExtentOptions
from pebench.task_bases.written_words import Asked, WrittenWords

QUESTIONS = {
    "common": ("Words:", ". Which are the most common words? Answer:"),
    "frequent": ("Coded text:", ". Without the dots, which words are most frequent? Answer:"),
}
"""Beginning and end of a text."""


class WordFrequencyOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        variant: ``common``: some words stand in the list ten times as often as all others. ``frequent``: the
            number of words falls with the square of their rank, and the first one is noise.
        lexicon: ``words`` that are made up, each a token of the tokenizer `words`; or ``codes``, the orders
            of the digits 1 to 4, each four of its tokens, which their order alone tells apart.
        asked: words that are asked for.
        tokenizer: `words`, `bytes`, GPT-2's, or a file; see `pebench.data.tokenization`. By default that of
            the run it starts from, or bytes.
        extent: tokens of a training text, question and answer included.
        examples: texts for each extent.
    """

    variant: Literal["common", "frequent"] = "common"
    lexicon: Annotated[Literal["words", "codes"], Added()] = "words"
    asked: Annotated[int, Field(ge=1, le=20)] = 3
    tokenizer: TokenizerChoice | None = None
    examples: Annotated[int, Field(ge=1, le=MOST)] = 100

    @model_validator(mode="after")
    def _no_bpe(self) -> WordFrequencyOptions:
        if self.tokenizer is not None and self.tokenizer.bpe is not None:
            raise ValueError(
                "there is no text here to train a BPE on; use 'bytes', 'words', 'gpt2' or a file"
            )
        return self


class WordFrequency(WrittenWords[WordFrequencyOptions]):
    """A causal decoder that reads a list and writes its most frequent words: the common ones in the order of
    the lexicon, the frequent ones beginning with the most frequent.

    Source of the form: Hsieh et al. 2024, https://arxiv.org/abs/2404.06654, where the list of common words is
    numbered and ten are asked for.

    Words of a token each take no positions, and `none` solves them: they are the control. Of ``codes`` two
    layers of `alibi` must find the common one of lists of 96 tokens and the most frequent one of lists of
    64, in 16,384 tokens too, and `none` must not in twice as many. At the trained length `none` finds the
    most frequent one, and with more updates the common one.
    """

    item = "tokens"
    vocabulary = "tokenizer"
    version = 2
    Options = WordFrequencyOptions

    @property
    def answers(self) -> Sequence[str]:
        """Every word."""
        return CODES if self.options.lexicon == "codes" else LEXICON

    @property
    def several(self) -> int:
        """Words that are asked for."""
        return self.options.asked

    def sentences(self) -> Iterable[str]:
        """Beginning and end of the text, and what stands between words."""
        return (*QUESTIONS[self.options.variant], f" {DOTS}", ",")

    def set_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Takes a tokenizer, and measures the words with it."""
        super().set_tokenizer(tokenizer)
        self._dots = len(self.phrase(f" {DOTS}"))

    def draw(self, extent: int, depth: float, draws: torch.Generator) -> Asked:
        """A list that fills the extent as far as it surely can, with the question at its end."""
        begin, end = (self.phrase(text) for text in QUESTIONS[self.options.variant])
        room = self.left(extent, begin, end, what="a question and its answer")
        asked, lexicon = self.options.asked, self.answers
        counts: Sequence[int]
        if self.options.variant == "common":
            counts = common_counts(room // self._longest, asked, len(lexicon))
            words = draw_words(lexicon, len(counts), draws)
            wanted = sorted(words[:asked], key=lexicon.index)
        else:
            counts = filling_counts(room, self._dots, self._longest, asked, len(lexicon))
            words = [DOTS, *draw_words(lexicon, len(counts) - 1, draws)] if counts else []
            wanted = words[1 : asked + 1]
        if not counts:
            raise UserError(
                f"as many words as {extent} tokens have room for do not tell {asked} from the rest by their "
                "number: take longer texts, fewer 'asked', or the tokenizer 'words', a token a word."
            )
        text = (i for word in shuffled(words, counts, draws) for i in self.phrase(f" {word}"))
        return self.prompted([*begin, *text], end, tuple(wanted))
