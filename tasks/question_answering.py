"""Question answering in long contexts: one paragraph holds the answer, and others fill the extent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import nn

from pebench.data.answer_scores import contains, exact_match, f1
from pebench.data.haystack import Hidden, placed, tokenized
from pebench.data.left_out import noted
from pebench.data.needed import Needed
from pebench.data.questions import (
    Question,
    QuestionSet,
    QuestionSource,
    QuestionText,
    find_questions,
    load_questions,
)
from pebench.data.text import Corpus
from pebench.data.tokenization import TokenizerChoice, load_tokenizer
from pebench.errors import UserError
from pebench.models.answers import (
    Answered,
    Example,
    answer_batch,
    answer_prompts,
)
from pebench.models.decoder import Decoder
from pebench.models.generation import NoNumber, Stop
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation
from pebench.randomness import generator
from pebench.specification.run_spec import Once
from pebench.store.example_scores import Examples, Ratio
from pebench.store.task_record import EvaluationData
from pebench.task import Batch, Evaluation, Metric
from pebench.task_bases.decoder_task import ExtentOptions
from pebench.task_bases.text_task import TextAnswers

ANSWER = 32
"""Tokens that an answer may have, and that are written at the most; the end of the text comes on top."""

_METRICS = (
    Metric("f1", "%", True),
    Metric("exact-match", "%", True),
    Metric("contains", "%", True),
    Metric("answer-perplexity", "per token", False),
)

Percent = Annotated[int, Field(ge=0, le=100)]


class QuestionAnsweringOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        data: `pocket`, a path, or a dataset; see `pebench.data.questions`.
        tokenizer: `bytes`, a BPE trained on the questions, GPT-2's, or a file; see
            `pebench.data.tokenization`. By default that of the run it starts from, or bytes.
        extent: tokens of a training context, question and answer included.
        split: what is evaluated on.
        questions: how many of the split to evaluate on, drawn once for all runs; by default all.
        depths: where the gold paragraph stands, in percent of what is before it and after it; the questions
            take turns. In training the depth is drawn at random.
    """

    data: QuestionSource = Field(default_factory=lambda: QuestionSource.model_validate("pocket"))
    tokenizer: TokenizerChoice | None = None
    split: Literal["validation", "test"] = "validation"
    questions: Annotated[int, Field(ge=1)] | None = None
    depths: Annotated[tuple[Percent, ...], Once] = (0, 25, 50, 75, 100)

    @model_validator(mode="after")
    def _depths(self) -> QuestionAnsweringOptions:
        if not self.depths or sorted(self.depths) != list(self.depths):
            raise ValueError("depths must rise, and at least one is needed")
        return self


class QuestionAnswering(TextAnswers[QuestionAnsweringOptions]):
    """A causal decoder that reads paragraphs and a question, and writes the answer.

    Of SQuAD six layers that have read novels answer a fifth at the trained extent, with `none` too. Beyond it
    encodings differ: at sixteen times that `fox` must answer some questions word for word, and `none` must
    not. At twice it `rope` with YaRN must keep more than half of its F1, and `rope` alone must not. `pocket`
    has 48 questions, too few to learn answers from.
    """

    item = "tokens"
    vocabulary = "tokenizer"
    version = 2
    Options = QuestionAnsweringOptions

    def __init__(self, options: QuestionAnsweringOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._sets: dict[str, QuestionSet] = {}
        self._passages: dict[str, list[list[int]]] = {}
        self._titles: dict[str, frozenset[str]] = {}
        self._fitting: dict[str, list[Question]] = {}

    def evaluation_data(self) -> EvaluationData:
        """The data of its options."""
        source, split = self.options.data, self.options.split
        return EvaluationData(
            names=source.known_as,
            paths=source.read_from(split),
            split=split,
            whole=self.options.questions is None,
        )

    def metrics(self) -> tuple[Metric, ...]:
        """F1 and exact match by SQuAD's rules, the lenient `contains`, and the perplexity of the first right
        answer; then each of them by the depth of the gold paragraph."""
        return (
            *_METRICS,
            *(m._replace(name=f"{m.name}-depth-{at}") for m in _METRICS for at in self.options.depths),
        )

    @property
    def _splits(self) -> tuple[str, ...]:
        """The splits that are read."""
        return ("train", self.options.split) if self.trains else (self.options.split,)

    def needed(self) -> tuple[Needed, ...]:
        """The files of the questions and of the tokenizer."""
        values = self.options.model_dump(mode="json", include={"data", "tokenizer"})
        questions = Needed(
            look="pebench.data.questions:check_questions",
            at={"source": values["data"], "splits": self._splits},
        )
        if values["tokenizer"] is None:
            return (questions,)
        tokenizer = {"choice": values["tokenizer"]}
        return Needed(look="pebench.data.tokenization:check_tokenizer", at=tokenizer), questions

    def prepare(self) -> dict[str, str]:
        """Reads and tokenizes the questions, and leaves out those that do not fit into the smallest extent,
        so that every extent is measured on the same ones.

        Raises:
            UserError: they are not there, or none fits.
        """
        self._sets = {split: load_questions(self.options.data, split) for split in self._splits}
        corpus = Corpus("the questions", {split: QuestionText(found) for split, found in self._sets.items()})
        choice = self.options.tokenizer or TokenizerChoice.model_validate("bytes")
        self._tokenizer = self._inherited or load_tokenizer(choice, corpus)
        smallest = {"train": self.options.extent, self.options.split: min(self.options.extents)}
        found = {"tokenizer": self._tokenizer.fingerprint}
        for split, own in self._sets.items():
            self._passages[split] = tokenized(self._tokenizer, [p.text + "\n\n" for p in own.passages])
            self._titles[split] = frozenset(passage.title for passage in own.passages)
            fitting = [q for q in own.questions if self._fits(q, split, smallest[split])]
            if not fitting:
                raise UserError(
                    f"none of the {len(own.questions)} questions of the {split} split fits into "
                    f"{smallest[split]} tokens with its paragraph and an answer of {ANSWER}, beside another "
                    "article."
                )
            self._fitting[split] = fitting
            found[split] = own.fingerprint
        return found | noted(find_questions(self.options.data).left_out)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Random questions with random distractors, the gold paragraph at a random depth."""
        draws = generator(seed, "batch", split, step)
        among = self._fitting["train"]
        examples = []
        for number in torch.randint(len(among), (size,), generator=draws).tolist():
            depth = float(torch.rand((), generator=draws))
            examples.append(self._example(among[number], "train", self.options.extent, depth, draws))
        return answer_batch(examples, self.options.extent, ANSWER + 1)

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Answers written greedily through the cache, and the likelihood of the first right one."""
        assert isinstance(model, Decoder)
        assert self._tokenizer is not None
        asked = self._asked()
        depths = [self.options.depths[number % len(self.options.depths)] for number in range(len(asked))]
        examples = [
            self._example(
                question,
                self.options.split,
                reach.extent[0],
                depth / 100,
                generator(0, "distractors", question.name),
            )
            for question, depth in zip(asked, depths, strict=True)
        ]
        end = self._tokenizer.end_of_text
        stop = Stop(frozenset({end}), ("\n",), self._tokenizer.decode)
        read = sum(example.length for example in examples)
        try:
            answered = answer_prompts(model, examples, reach, ANSWER, stop)
        except NoNumber:
            return Evaluation({metric.name: math.nan for metric in self.metrics()}, read)
        found = [self._judged(*each, stop) for each in zip(asked, examples, answered, strict=True)]
        articles = self._articles(asked)
        sets = [_examples(found, articles)]
        for depth in self.options.depths:
            there = [number for number, at in enumerate(depths) if at == depth]
            # Fewer questions than depths leave some of them without any.
            if there:
                own = [found[number] for number in there], [articles[number] for number in there]
                sets.append(_examples(*own, f"-depth-{depth}"))
        scores = {name: score for one in sets for name, score in one.scores().items()}
        return Evaluation(scores, read, tuple(sets))

    def _articles(self, asked: list[Question]) -> list[int]:
        """The number of the article that each question is about."""
        split = self.options.split
        numbers = {title: number for number, title in enumerate(sorted(self._titles[split]))}
        return [numbers[self._sets[split].passages[question.gold[0]].title] for question in asked]

    def _judged(self, question: Question, example: Example, answered: Answered, stop: Stop) -> _Judged:
        assert self._tokenizer is not None
        text = stop.cut(self._tokenizer.decode(answered.written)).strip()
        right = question.answers
        return _Judged(
            f1(text, right),
            exact_match(text, right),
            contains(text, right),
            -answered.likelihood.log,
            len(example.answer),
        )

    def _asked(self) -> list[Question]:
        """The questions to evaluate on, in an order of their own: files have those of an article together."""
        among = self._fitting[self.options.split]
        order = torch.randperm(len(among), generator=generator(0, "questions", self.options.split)).tolist()
        return [among[number] for number in order[: self.options.questions]]

    def _fits(self, question: Question, split: str, extent: int) -> bool:
        gold = sum(len(self._passages[split][number]) for number in question.gold)
        fits = 1 + gold + len(self._asking(question)) + ANSWER <= extent
        distracted = bool(self._titles[split] - question.titles)
        return fits and distracted and len(self._answer(question)) <= ANSWER + 1

    def _asking(self, question: Question) -> list[int]:
        assert self._tokenizer is not None
        return [int(i) for i in self._tokenizer.encode(f"Question: {question.text}\nAnswer:")]

    def _answer(self, question: Question) -> list[int]:
        assert self._tokenizer is not None
        return [
            *(int(i) for i in self._tokenizer.encode(f" {question.answers[0]}")),
            self._tokenizer.end_of_text,
        ]

    def _example(
        self, question: Question, split: str, extent: int, depth: float, draws: torch.Generator
    ) -> Example:
        """Paragraphs up to the extent, the gold ones among them, and the question last."""
        assert self._tokenizer is not None
        passages, own = self._passages[split], self._sets[split]
        assert self._titles[split] - question.titles, "prepare() made sure that there are distractors"
        asking = self._asking(question)
        room = extent - 1 - len(asking) - ANSWER - sum(len(passages[number]) for number in question.gold)
        others: list[list[int]] = []
        while room > 0:
            number = int(torch.randint(len(passages), (), generator=draws))
            if own.passages[number].title in question.titles:
                continue
            others.append(passages[number][:room])
            room -= len(others[-1])
        context = placed([Hidden([passages[number] for number in question.gold], depth)], others)
        return Example([self._tokenizer.end_of_text, *context, *asking], self._answer(question))


class _Judged(NamedTuple):
    """How a question was answered: three scores from 0 to 1 of what was written, and the negative
    log-likelihood of the first right answer in nats, with the tokens it has."""

    f1: float
    exact_match: float
    contains: float
    nats: float
    tokens: int


def _examples(judged: Sequence[_Judged], articles: Sequence[int], suffix: str = "") -> Examples:
    """The questions behind the metrics. Those about one article have their words in common."""
    return Examples(
        ratios=(
            Ratio(metric=f"f1{suffix}", over="f1"),
            Ratio(metric=f"exact-match{suffix}", over="exact_match"),
            Ratio(metric=f"contains{suffix}", over="contains"),
            Ratio(metric=f"answer-perplexity{suffix}", over="nats", under="tokens", form="exponential"),
        ),
        units=("article", "question"),
        columns={
            "article": tuple(articles),
            "question": tuple(range(len(judged))),
            "f1": tuple(float(one.f1) for one in judged),
            "exact_match": tuple(float(one.exact_match) for one in judged),
            "contains": tuple(float(one.contains) for one in judged),
            "nats": tuple(one.nats for one in judged),
            "tokens": tuple(one.tokens for one in judged),
        },
        counts={"questions": len(judged), "articles": len(set(articles))},
    )
