"""Retrieval: facts hidden at a depth of a long text, which a question asks for."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from pebench.data.haystack import Hidden, placed, tokenized
from pebench.data.needles import DIGITS, HAY, KEYS, Needles, draw_needles, numbers_of
from pebench.data.tokenization import Tokenizer, TokenizerChoice
from pebench.errors import join_or
from pebench.models.answers import Example
from pebench.models.host import DecoderOptions
from pebench.randomness import generator
from pebench.specification.options import Added
from pebench.specification.run_spec import Once
from pebench.task import MOST
from pebench.task_bases.decoder_task import ExtentOptions
from pebench.task_bases.written_words import Asked, WrittenWords

Percent = Annotated[int, Field(ge=0, le=100)]

ONE_NEEDLE = ("passkey", "needle")
"""Variants that hide one."""

SEVERAL_QUESTIONS = ("multi-key", "multi-query", "two-hop", "variable-tracking")
"""Variants whose texts answer several questions."""

CHAINED = ("two-hop", "variable-tracking")
"""Variants in which what is hidden leads to one another."""


class RetrievalOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        variant: ``passkey`` hides one number; ``needle`` a number with a key; ``multi-key`` several keys with
            a number each, one asked for; ``multi-value`` one key with several numbers, all asked for;
            ``multi-query`` several keys, all asked for in another order, in which the answer has to be;
            ``two-hop`` several names with a key each, which has the number that is asked for by the name;
            ``variable-tracking`` two chains of names, of which the first stands for a number and each other
            one for the one before it: the names of one chain are asked for by the number.
        needles: how many there are in the variants with several, or names of a chain.
        digits: of a number. The fewer, the sooner a small model learns to look numbers up.
        asked: questions behind a training text; evaluation has the first alone. Each further one is for the
            number of one key or name, or for the names of one chain, drawn by itself. The more there are, the
            sooner a model learns to look them up.
        scratchpad: whether the answer of a chained variant writes every hop, as steps before an answer do
            (Nye et al. 2021, https://arxiv.org/abs/2112.00114; the word is theirs, and Kazemnejad et al.
            2023's, https://arxiv.org/abs/2305.19466). The question ends with what the first hop begins at,
            and each word of the answer is looked up by the one before it, without a comma between: the key
            and then the number of ``two-hop``, the names of a chain from its number on. The model writes all
            of it itself. Of ``two-hop`` the number alone counts, in its place behind the key, so that scores
            compare with those without: a number of the text that is guessed is as often right. Texts are the
            same, and the further questions have it too.
        tokenizer: `bytes`, `words`, GPT-2's, or a file; see `pebench.data.tokenization`. By default that of
            the run it starts from, or bytes.
        extent: tokens of a training text, question and answer included.
        depths: where the (first) needle that is asked for stands, in percent of the text.
        examples: texts for each depth and extent.
    """

    variant: Literal[
        "passkey",
        "needle",
        "multi-key",
        "multi-value",
        "multi-query",
        "two-hop",
        "variable-tracking",
    ] = "passkey"
    needles: Annotated[int, Field(ge=2, le=16)] = 4
    digits: Annotated[int, Field(ge=1, le=DIGITS), Added()] = DIGITS
    asked: Annotated[int, Field(ge=1), Added()] = 1
    scratchpad: Annotated[bool, Added()] = False
    tokenizer: TokenizerChoice | None = None
    depths: Annotated[tuple[Percent, ...], Once] = (0, 25, 50, 75, 100)
    examples: Annotated[int, Field(ge=1, le=MOST)] = 20

    @model_validator(mode="after")
    def _fits(self) -> RetrievalOptions:
        if not self.depths or sorted(self.depths) != list(self.depths):
            raise ValueError("depths must rise, and at least one is needed, as in [0, 50, 100]")
        if self.tokenizer is not None and self.tokenizer.bpe is not None:
            raise ValueError(
                "there is no text here to train a BPE on; use 'bytes', 'words', 'gpt2' or a file"
            )
        usual = type(self).model_fields["needles"].default
        if self.variant in ONE_NEEDLE and self.needles != usual:
            raise ValueError(f"the variant '{self.variant}' hides one needle, and not {self.needles}")
        if self.needles > len(numbers_of(self.digits)):
            raise ValueError(
                f"there are no {self.needles} different numbers of {self.digits} digit: take "
                f"{self.digits + 1} digits, or {len(numbers_of(self.digits))} needles"
            )
        if self.asked > 1 and self.variant not in SEVERAL_QUESTIONS:
            raise ValueError(f"the variant '{self.variant}' has one question, and {self.asked} are asked for")
        if self.asked > self.extent:
            raise ValueError(f"{self.asked} questions do not fit into {self.extent} tokens")
        if self.scratchpad and self.variant not in CHAINED:
            raise ValueError(
                f"the variant '{self.variant}' has one step, and a scratchpad is for {join_or(CHAINED)}"
            )
        if self.variant in CHAINED and 2 * self.needles > len(KEYS):
            raise ValueError(
                f"{self.needles} needles take {2 * self.needles} names, and there are {len(KEYS)}: take "
                f"{len(KEYS) // 2} needles at the most"
            )
        return self


class Retrieval(WrittenWords[RetrievalOptions]):
    """A causal decoder that reads a text and a question, and writes what was hidden.

    In one layer `rope` must write a ``passkey``, a ``needle`` and a ``multi-value`` of two numbers, and
    `none` must not, to which digits are a set. In texts of one length two layers of it learn a passkey too.
    A language model of novels in six layers learns a passkey and ``multi-key`` at the trained extent with
    any encoding and with `none`; at twice that `rope` with YaRN must solve them, and `rope` alone must not.
    ``multi-query`` such a model must solve with `rope` and `alibi` at the trained extent, and `none` must
    not. ``two-hop`` with a scratchpad three layers of `alibi` must solve from scratch, at twice the trained
    extent too. There three layers of `none` must not, and one layer must not at any extent: a guess between
    two names is right half the time. ``variable-tracking`` with a scratchpad two layers of `alibi` must solve
    that have learnt ``two-hop``, and two of `none` must not. A language model of novels that has learnt
    ``multi-key`` must solve ``two-hop`` and ``variable-tracking`` with a scratchpad and with `rope` and YaRN,
    at four times the trained extent too, and with `rope` alone it must not. Without a scratchpad no model has
    been seen to solve either.
    """

    item = "tokens"
    vocabulary = "tokenizer"
    version = 3
    Options = RetrievalOptions

    def __init__(self, options: RetrievalOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self.depths = options.depths
        if options.scratchpad:
            self.between = ""
        self._hay: list[list[int]] = []

    @property
    def answers(self) -> Sequence[str]:
        """The numbers, or the names that stand for one; with a scratchpad the keys too."""
        if self.options.variant == "variable-tracking":
            return KEYS
        numbers = _numerals(self.options.digits)
        return (*KEYS, *numbers) if self.options.scratchpad else numbers

    @property
    def several(self) -> int:
        """Numbers or names that are asked for."""
        several = ("multi-value", "multi-query", "variable-tracking")
        return self.options.needles if self.options.variant in several else 1

    @property
    def steps(self) -> int:
        """The key of two hops, with a scratchpad. The names of a chain are all asked for."""
        return int(self.options.scratchpad and self.options.variant == "two-hop")

    def sentences(self) -> Iterable[str]:
        """The hay, and needles with every key."""
        drawn = self._needles(generator(0, "words"), scratchpad=self.options.scratchpad)
        if self.options.scratchpad:
            # For a run without that begins with this one.
            yield self._needles(generator(0, "words"), scratchpad=False).question.text
        yield from (*HAY, drawn.question.text, *(f" {key}, {key}" for key in KEYS))
        for group in (drawn.asked, *drawn.others):
            yield from group

    def set_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Takes a tokenizer, and reads the hay with it."""
        super().set_tokenizer(tokenizer)
        self._hay = tokenized(tokenizer, HAY)

    def right(self, tokens: Sequence[int], wanted: Sequence[str]) -> int:
        """How many of the wanted words were written: each in its place where every one has a key of its own,
        in any order where they share one."""
        if self.options.variant == "multi-query":
            return sum(word == number for word, number in zip(self.written(tokens), wanted, strict=False))
        return super().right(tokens, wanted)

    @property
    def turns(self) -> int:
        """Those of its options."""
        return self.options.asked

    def draw(self, extent: int, depth: float, draws: torch.Generator) -> Asked:
        """A text that fills the extent with the question at its end."""
        return self._drawn(extent, depth, draws, 1)[0]

    def trained(self, depth: float, draws: torch.Generator) -> list[Example]:
        """A text and questions that fill the trained extent."""
        return [asked.example for asked in self._drawn(self.options.extent, depth, draws, self.turns)]

    def _drawn(self, extent: int, depth: float, draws: torch.Generator, turns: int) -> list[Asked]:
        drawn = self._needles(draws, scratchpad=self.options.scratchpad)
        asked, *others = ([self.phrase(text) for text in texts] for texts in (drawn.asked, *drawn.others))
        question = self.phrase(drawn.question.text)
        further = []
        for _ in range(turns - 1):
            text, *answer = drawn.further[int(torch.randint(len(drawn.further), (), generator=draws))]
            turn = self.prompted([], self.phrase(text), *answer)
            # The end of the answer before it stands where a text begins.
            further.append(turn._replace(example=turn.example._replace(prompt=turn.example.prompt[1:])))
        behind = [[*turn.example.prompt, *turn.example.answer] for turn in further]
        needles = [needle for group in (asked, *others) for needle in group]
        room = self.left(extent, question, *needles, *behind, what="needles and question")
        hay: list[list[int]] = []
        while room > 0:
            piece = self._hay[int(torch.randint(len(self._hay), (), generator=draws))]
            hay.append(piece[:room])
            room -= len(hay[-1])
        # By the rule for what is asked for: places would tell which needles are meant otherwise.
        elsewhere = torch.rand(len(others), generator=draws).tolist()
        hidden = [Hidden(asked, depth), *(Hidden(*one) for one in zip(others, elsewhere, strict=True))]
        first = self.prompted(placed(hidden, hay), question, drawn.question.answer, drawn.question.steps)
        return [first, *further]

    def _needles(self, draws: torch.Generator, *, scratchpad: bool) -> Needles:
        options = self.options
        return draw_needles(options.variant, options.needles, draws, options.digits, scratchpad)


@functools.cache
def _numerals(digits: int) -> tuple[str, ...]:
    """Every number that may be hidden."""
    return tuple(map(str, numbers_of(digits)))
