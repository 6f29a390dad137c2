"""Base of the tasks in which a decoder writes words that a drawn text asks for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from pebench.data.needed import Needed
from pebench.data.phrases import phrases
from pebench.data.text import Corpus
from pebench.data.tokenization import Tokenizer, TokenizerChoice, load_tokenizer
from pebench.data.word_tokens import word_tokenizer
from pebench.errors import UserError
from pebench.models.answers import Example, turns_batch
from pebench.models.decoder import Decoder
from pebench.models.generation import NoNumber, Stop, generate
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.store.example_scores import Examples, Ratio
from pebench.task import Batch, Evaluation, Metric
from pebench.task_bases.text_task import AnswersOptions, TextAnswers

ENOUGH = 80.0
"""Accuracy in percent that counts as being able to, as in RULER's effective length."""

_LONGEST: dict[tuple[str, tuple[str, ...]], int] = {}
"""Tokens of the longest of some words by the tokenizer's fingerprint and the words: 90,000 numbers take a
tokenizer a fifth of a second, and every cell of a sweep asks for them."""


class Asked(NamedTuple):
    """A text with its answer, and the words of which that consists."""

    example: Example
    wanted: tuple[str, ...]


class WordsOptions(AnswersOptions, Protocol):
    """Options of such a task.

    Attributes:
        examples: texts for each extent, and for each depth where there are any.
    """

    @property
    def examples(self) -> int: ...


Options = TypeVar("Options", bound=WordsOptions)


class WrittenWords(TextAnswers[Options]):
    """Texts that fill an extent, with a question at their end, whose answer is a list of words."""

    depths: tuple[int, ...] = ()
    """Where what is asked for stands, in percent of the text; each has a metric of its own. None of them
    where it stands anywhere."""

    between = ","
    """What stands between two words of an answer."""

    def __init__(self, options: Options, model: object) -> None:
        super().__init__(options, model)  # type: ignore[arg-type]
        self._longest = 0
        self._phrases: Callable[[str], list[int]] | None = None

    @property
    @abstractmethod
    def answers(self) -> Sequence[str]:
        """Every word that an answer may have."""

    @property
    @abstractmethod
    def several(self) -> int:
        """Words that are asked for."""

    @property
    def steps(self) -> int:
        """Words that an answer has before those that are asked for, as on a scratchpad (Nye et al. 2021,
        https://arxiv.org/abs/2112.00114). The model writes them itself, and they count for nothing."""
        return 0

    @abstractmethod
    def sentences(self) -> Iterable[str]:
        """Text that holds every word of all texts but those of `answers`."""

    @abstractmethod
    def draw(self, extent: int, depth: float, draws: torch.Generator) -> Asked:
        """A text that fills the extent.

        Args:
            extent: tokens, answer included. depth: from 0, the beginning, to 1; nothing where there are no
                depths. draws: where it comes from.

        Raises:
            UserError: the extent has no room for it.
        """

    @property
    def turns(self) -> int:
        """Questions behind a training text."""
        return 1

    def trained(self, depth: float, draws: torch.Generator) -> list[Example]:
        """A text that fills the trained extent, and as many questions as there are turns; see `draw`."""
        return [self.draw(self.options.extent, depth, draws).example]

    def metrics(self) -> tuple[Metric, ...]:
        """The share of the wanted words that were written, over all depths and at each; and the effective
        length."""
        return (
            Metric("accuracy", "%", True),
            Metric("effective-length", self.item, True),
            *(Metric(f"accuracy-depth-{depth}", "%", True) for depth in self.depths),
        )

    def needed(self) -> tuple[Needed, ...]:
        """The file of the tokenizer."""
        if self.options.tokenizer is None:
            return ()
        choice = self.options.tokenizer.model_dump(mode="json")
        return (Needed(look="pebench.data.tokenization:find_tokenizer", at={"choice": choice}),)

    def prepare(self) -> dict[str, str]:
        """Loads the tokenizer; texts are drawn when they are needed.

        Raises:
            UserError: the tokenizer cannot be read or cannot write the answers, or the smallest extent has
                no room for the question.
        """
        if self._inherited is not None:
            self.set_tokenizer(self._inherited)
        elif self._choice.name == "words":
            self.set_tokenizer(word_tokenizer((*self.sentences(), *(f" {word}" for word in self.answers))))
        else:
            self.set_tokenizer(load_tokenizer(self._choice, Corpus("nothing", {})))
        assert self._tokenizer is not None
        for extent in (self.options.extent, *self.options.extents):
            self.draw(extent, 0.0, generator(0, "room"))
        self.trained(0.0, generator(0, "room"))
        return {"tokenizer": self._tokenizer.fingerprint}

    @property
    def _choice(self) -> TokenizerChoice:
        """The tokenizer of a run that takes over none."""
        return self.options.tokenizer or TokenizerChoice.model_validate("bytes")

    def require_possible(self, starts: bool) -> None:
        """Refuses extents without room for a question and its answer, where the tokenizer is one of those
        that need no file.

        Raises:
            UserError: there is no room.
        """
        taken_over = starts and self.options.tokenizer is None
        if not taken_over and self._choice.name in ("bytes", "words"):
            type(self)(self.options, self.model).prepare()

    def set_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Takes a tokenizer, and measures the answers with it."""
        super().set_tokenizer(tokenizer)
        self._longest = _longest(tokenizer, tuple(self.answers))
        self._phrases = phrases(tokenizer)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Texts at random depths."""
        draws = generator(seed, "batch", split, step)
        depths = torch.rand(size, generator=draws).tolist()
        rows = [self.trained(depth, draws) for depth in depths]
        return turns_batch(rows, self.options.extent, self.room * self.turns)

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Answers written greedily through the cache, for every depth the same texts for all encodings."""
        assert isinstance(model, Decoder)
        assert self._tokenizer is not None
        asked: list[tuple[int, Asked]] = []
        for depth in self.depths or (0,):
            for number in range(self.options.examples):
                draws = generator(0, "text", reach.extent, depth, number)
                asked.append((depth, self.draw(reach.extent[0], depth / 100, draws)))
        stop = Stop(frozenset({self._tokenizer.end_of_text}), ("\n",), self._tokenizer.decode)
        prompts = [one.example.prompt for _, one in asked]
        try:
            written = generate(model, prompts, reach, self.room - 1, stop)
        except NoNumber:
            nothing = {
                metric.name: math.nan for metric in self.metrics() if metric.name != "effective-length"
            }
            return Evaluation(nothing, sum(len(prompt) for prompt in prompts))
        right = [self.right(tokens, one.wanted) for (_, one), tokens in zip(asked, written, strict=True)]
        hidden = [len(one.wanted) for _, one in asked]
        sets = [_examples("accuracy", right, hidden)]
        for depth in self.depths:
            there = [number for number, (at, _) in enumerate(asked) if at == depth]
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
    def room(self) -> int:
        """Tokens that an answer may have, the end included."""
        return (self._longest + len(self.phrase(self.between))) * (self.steps + self.several) + 1

    def phrase(self, text: str) -> list[int]:
        """The ids of a sentence, a question or a word; not to be changed."""
        assert self._phrases is not None
        return self._phrases(text)

    def right(self, tokens: Sequence[int], wanted: Sequence[str]) -> int:
        """How many of the wanted words are among as many as were asked for, in any order: what is written
        before or beyond them counts for nothing, or naming every word of a text would be right."""
        words = self.written(tokens)[self.steps : self.steps + self.several]
        return sum(word in words for word in wanted)

    def written(self, tokens: Sequence[int]) -> list[str]:
        """The words that tokens spell."""
        assert self._tokenizer is not None
        return self._tokenizer.decode(tokens).replace(",", " ").replace(".", " ").split()

    def prompted(
        self,
        text: Sequence[int],
        question: Sequence[int],
        wanted: tuple[str, ...],
        steps: tuple[str, ...] = (),
    ) -> Asked:
        """A text and a question with the answer, each word of it tokenized by itself, so that none takes more
        tokens than the longest of all.

        Args:
            text: ids. question: ids. wanted: words that are asked for. steps: words that are to be written
                before them.

        Raises:
            UserError: the tokenizer cannot write the answer.
        """
        assert self._tokenizer is not None
        between = self.phrase(self.between)
        first, *others = (self.phrase(f" {word}") for word in (*steps, *wanted))
        answer = [*first, *(i for word in others for i in (*between, *word))]
        if self.right(answer, wanted) < len(wanted):
            raise UserError(f"the tokenizer cannot write {', '.join(wanted)}: choose one that keeps digits.")
        end = self._tokenizer.end_of_text
        return Asked(Example([end, *text, *question], [*answer, end]), wanted)

    def left(self, extent: int, *parts: Sequence[int], what: str) -> int:
        """Tokens that are left for the rest of a text beside some of its parts and the answer.

        Raises:
            UserError: there is no room for the parts.
        """
        room = extent - 1 - (self.room - 1) - sum(map(len, parts))
        if room < 0:
            raise UserError(f"{what} need {extent - room} tokens, and an extent has {extent}.")
        return room


def _longest(tokenizer: Tokenizer, words: tuple[str, ...]) -> int:
    """Tokens of the longest of some words, each with a blank before it."""
    asked = (tokenizer.fingerprint, words)
    if asked not in _LONGEST:
        _LONGEST[asked] = max(map(len, tokenizer.encode_batch([f" {word}" for word in words])))
    return _LONGEST[asked]


def _examples(metric: str, right: list[int], hidden: list[int]) -> Examples:
    """The texts that a metric is the share of right words in."""
    return Examples(
        ratios=(Ratio(metric=metric, over="right", under="hidden"),),
        columns={"right": tuple(right), "hidden": tuple(hidden)},
        counts={"texts": len(right)},
    )
