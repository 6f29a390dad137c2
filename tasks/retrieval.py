"""Retrieval: facts hidden at a depth of a long text, which a question asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pebench.data.haystack import placed, tokenized
from pebench.data.needed import Needed
from pebench.data.needles import HAY, NUMBERS, draw_needles
from pebench.data.text import Corpus
from pebench.data.tokenization import Tokenizer, TokenizerChoice, load_tokenizer
from pebench.data.tokenizer_file import TOKENIZER_FILE, read_tokenizer, write_tokenizer
from pebench.errors import UserError
from pebench.examples import Examples, Ratio
from pebench.models.answers import Example, answer_batch, answer_loss, answer_weight
from pebench.models.decoder import Decoder
from pebench.models.generation import NoNumber, Stop, generate
from pebench.models.host import DecoderOptions
from pebench.plugin_ref import ExtrapolationRef
from pebench.position_encoding import Extrapolation, Geometry, PositionEncoding, Table
from pebench.randomness import generator
from pebench.spec import Frozen, Once
from pebench.task import Batch, Evaluation, Metric, Task

ENOUGH = 80.0
"""Accuracy in percent that counts as being able to retrieve, as in RULER's effective length."""

Size = Annotated[int, Field(ge=2)]
Percent = Annotated[int, Field(ge=0, le=100)]


class RetrievalOptions(Frozen):
    """Options of the task.

    Attributes:
        variant: ``passkey`` hides one number; ``needle`` a number with a key; ``multi-key`` several keys with
            a number each, one asked for; ``multi-value`` one key with several numbers, all asked for;
            ``multi-query`` several keys, all asked for in another order, in which the answer has to be.
        needles: how many there are in the variants with several.
        tokenizer: `bytes`, GPT-2's, or a file; see `pebench.data.tokenization`. By default that of the run it
            starts from, or bytes.
        extent: tokens of a training text, question and answer included.
        evaluate: extents to evaluate at; by default 1, 2, 4, 8 and 16 times the trained one.
        depths: where the (first) needle that is asked for stands, in percent of the text.
        examples: texts for each depth and extent.
        extrapolations: ways past the trained extent to measure, of those that an encoding offers; by default
            the one that the encoding prefers.
    """

    variant: Literal["passkey", "needle", "multi-key", "multi-value", "multi-query"] = "passkey"
    needles: Annotated[int, Field(ge=2, le=16)] = 4
    tokenizer: TokenizerChoice | None = None
    extent: Size = 512
    evaluate: Annotated[tuple[Size, ...], Once] = ()
    depths: Annotated[tuple[Percent, ...], Once] = (0, 25, 50, 75, 100)
    examples: Annotated[int, Field(ge=1)] = 20
    extrapolations: Annotated[tuple[ExtrapolationRef, ...], Once] | None = None

    @model_validator(mode="after")
    def _fits(self) -> RetrievalOptions:
        if not self.depths or sorted(self.depths) != list(self.depths):
            raise ValueError("depths must rise, and at least one is needed")
        if self.tokenizer is not None and self.tokenizer.bpe is not None:
            raise ValueError("there is no text here to train a BPE on; use 'bytes', 'gpt2' or a file")
        return self

    @property
    def extents(self) -> tuple[int, ...]:
        """The extents to evaluate at."""
        return self.evaluate or tuple(self.extent * times for times in (1, 2, 4, 8, 16))


class Retrieval(Task[RetrievalOptions, DecoderOptions]):
    """A causal decoder that reads a text and a question, and writes what was hidden."""

    axes = 1
    causal = True
    item = "tokens"
    vocabulary = "tokenizer"
    version = 2
    Options = RetrievalOptions
    Model = DecoderOptions

    def __init__(self, options: RetrievalOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._inherited: Tokenizer | None = None
        self._tokenizer: Tokenizer | None = None
        self._hay: list[list[int]] = []
        self._longest = 0

    @property
    def tokenizer(self) -> Tokenizer | None:
        """That of the texts."""
        return self._tokenizer

    def geometry(self) -> Geometry:
        """The decoder's, for the trained extent."""
        return self.model.geometry(self.options.extent)

    def extents(self) -> list[tuple[int, ...]]:
        """The extents to evaluate at."""
        return [(extent,) for extent in self.options.extents]

    def extrapolations(self) -> tuple[ExtrapolationRef, ...]:
        """Those of its options."""
        return self.options.extrapolations or ()

    def metrics(self) -> tuple[Metric, ...]:
        """The share of the hidden numbers that were written, over all depths and at each; and the effective
        length."""
        return (
            Metric("accuracy", "%", True),
            Metric("effective-length", self.item, True),
            *(Metric(f"accuracy-depth-{depth}", "%", True) for depth in self.options.depths),
        )

    def needed(self) -> tuple[Needed, ...]:
        """The file of the tokenizer."""
        if self.options.tokenizer is None:
            return ()
        choice = self.options.tokenizer.model_dump(mode="json")
        return (Needed(look="pebench.data.tokenization:check_tokenizer", at={"choice": choice}),)

    def inherit(self, folder: Path) -> None:
        """Takes over the tokenizer, unless one is asked for.

        Raises:
            UserError: it cannot be read.
        """
        if self.options.tokenizer is None:
            self._inherited = read_tokenizer(folder / TOKENIZER_FILE)

    def prepare(self) -> dict[str, str]:
        """Loads the tokenizer; texts are drawn when they are needed.

        Raises:
            UserError: the tokenizer cannot be read or cannot write numbers, or the smallest extent has no
                room for needles and question.
        """
        choice = self.options.tokenizer or TokenizerChoice.model_validate("bytes")
        self._set_tokenizer(self._inherited or load_tokenizer(choice, Corpus("nothing", {})))
        assert self._tokenizer is not None
        for extent in (self.options.extent, *self.options.extents):
            self._example(extent, 0.0, generator(0, "room"))
        return {"tokenizer": self._tokenizer.fingerprint}

    def keep(self, folder: Path) -> None:
        """Writes the tokenizer."""
        assert self._tokenizer is not None, "prepare() comes first"
        write_tokenizer(folder / TOKENIZER_FILE, self._tokenizer)

    def restore(self, folder: Path) -> dict[str, str]:
        """Reads the tokenizer."""
        # For data that is read later, too: a run that took it over from another does not name it.
        self.inherit(folder)
        tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
        self._set_tokenizer(tokenizer)
        return {"tokenizer": tokenizer.fingerprint}

    def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
        """The decoder for the tokenizer's vocabulary."""
        assert self._tokenizer is not None, "prepare() or restore() comes first"
        size = self._tokenizer.vocabulary_size
        return Decoder(self.geometry(), size, encoding, self.model, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Texts with needles at random depths."""
        draws = generator(seed, "batch", split, step)
        depths = torch.rand(size, generator=draws).tolist()
        examples = [self._example(self.options.extent, depth, draws)[0] for depth in depths]
        return answer_batch(examples, self.options.extent, self._room)

    def weight(self, batch: Batch) -> float:
        """Tokens of the answers, the end included."""
        return answer_weight(batch)

    def items(self, batch: Batch) -> int:
        """Tokens read."""
        return batch["tokens"].numel()

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum of the negative log-likelihoods of the answers in nats."""
        assert isinstance(model, Decoder)
        return answer_loss(model, batch, table)

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Answers written greedily through the cache, for every depth the same texts for all encodings."""
        assert isinstance(model, Decoder)
        assert self._tokenizer is not None
        asked: list[tuple[int, Example, tuple[str, ...]]] = []
        for depth in self.options.depths:
            for number in range(self.options.examples):
                draws = generator(0, "text", reach.extent, depth, number)
                asked.append((depth, *self._example(reach.extent[0], depth / 100, draws)))
        stop = Stop(frozenset({self._tokenizer.end_of_text}), ("\n",), self._tokenizer.decode)
        prompts = [example.prompt for _, example, _ in asked]
        try:
            written = generate(model, prompts, reach, self._room - 1, stop)
        except NoNumber:
            nothing = {
                metric.name: math.nan for metric in self.metrics() if metric.name != "effective-length"
            }
            return Evaluation(nothing, sum(len(prompt) for prompt in prompts))
        right = [self._right(tokens, numbers) for (_, _, numbers), tokens in zip(asked, written, strict=True)]
        hidden = [len(numbers) for _, _, numbers in asked]
        sets = [_examples("accuracy", right, hidden)]
        for depth in self.options.depths:
            there = [number for number, (at, _, _) in enumerate(asked) if at == depth]
            own = ([column[number] for number in there] for column in (right, hidden))
            sets.append(_examples(f"accuracy-depth-{depth}", *own))
        scores = {name: score for one in sets for name, score in one.scores().items()}
        return Evaluation(scores, sum(len(prompt) for prompt in prompts), tuple(sets))

    def conclude(
        self, found: Mapping[Extrapolation, Mapping[str, float]]
    ) -> dict[Extrapolation, dict[str, float]]:
        """The effective length up to each extent: the largest one not above it with enough accuracy there and
        at all smaller ones, 0 if there is none."""
        lengths = {}
        for method in dict.fromkeys(reach.method for reach in found):
            effective, holds = 0, True
            # Inside the trained extent an encoding has one way alone, which counts for every one beyond it.
            own = {r.extent: s for r, s in found.items() if r.method == method}
            inside = {r.extent: s for r, s in found.items() if r.extent[0] <= self.options.extent}
            for extent, scores in sorted((inside | own).items()):
                holds = holds and scores["accuracy"] >= ENOUGH
                effective = extent[0] if holds else effective
                if extent in own:
                    lengths[Extrapolation(extent, method)] = {"effective-length": float(effective)}
        return lengths

    @property
    def _room(self) -> int:
        """Tokens that an answer may have, the end included."""
        assert self._tokenizer is not None
        several = self.options.needles if self.options.variant in ("multi-value", "multi-query") else 1
        return (self._longest + len(self._tokenizer.encode(","))) * several + 1

    def _set_tokenizer(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._hay = tokenized(tokenizer, HAY)
        self._longest = max(map(len, tokenizer.encode_batch([f" {number}" for number in NUMBERS])))

    def _answer(self, numbers: tuple[str, ...]) -> list[int]:
        """The numbers, each tokenized by itself, so that none takes more tokens than the longest of all."""
        assert self._tokenizer is not None
        comma = [int(i) for i in self._tokenizer.encode(",")]
        first, *others = tokenized(self._tokenizer, [f" {number}" for number in numbers])
        answer = [*first, *(i for number in others for i in (*comma, *number))]
        if self._right(answer, numbers) < len(numbers):
            raise UserError(f"the tokenizer cannot write {', '.join(numbers)}: choose one that keeps digits.")
        return answer

    def _right(self, tokens: Sequence[int], numbers: tuple[str, ...]) -> int:
        """How many of the numbers were written: each in its place where every one has a key of its own, each
        anywhere where they share one."""
        assert self._tokenizer is not None
        words = self._tokenizer.decode(tokens).replace(",", " ").replace(".", " ").split()
        if self.options.variant == "multi-query":
            return sum(word == number for word, number in zip(words, numbers, strict=False))
        return sum(number in words for number in numbers)

    def _example(self, extent: int, depth: float, draws: torch.Generator) -> tuple[Example, tuple[str, ...]]:
        """A text that fills the extent with the question at its end, and the numbers that are asked for."""
        assert self._tokenizer is not None
        drawn = draw_needles(self.options.variant, self.options.needles, draws)
        asked, others = (tokenized(self._tokenizer, texts) for texts in (drawn.asked, drawn.others))
        question = [int(i) for i in self._tokenizer.encode(drawn.question)]
        answer = self._answer(drawn.numbers)
        room = extent - 1 - len(question) - (self._room - 1) - sum(map(len, [*asked, *others]))
        if room < 0:
            needed = extent - room
            raise UserError(f"needles and question need {needed} tokens, and an extent has {extent}.")
        hay: list[list[int]] = []
        while room > 0:
            piece = self._hay[int(torch.randint(len(self._hay), (), generator=draws))]
            hay.append(piece[:room])
            room -= len(hay[-1])
        # What is not asked for stands anywhere.
        for needle in others:
            hay.insert(int(torch.randint(len(hay) + 1, (), generator=draws)), needle)
        text = placed(asked, hay, depth)
        end = self._tokenizer.end_of_text
        return Example([end, *text, *question], [*answer, end]), drawn.numbers


def _examples(metric: str, right: list[int], hidden: list[int]) -> Examples:
    """The texts that a metric is the share of right numbers in."""
    return Examples(
        ratios=(Ratio(metric=metric, over="right", under="hidden"),),
        columns={"right": tuple(right), "hidden": tuple(hidden)},
        counts={"texts": len(right)},
    )
