"""Length generalization: algorithms learnt on short problems and tested on longer ones."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from pebench.data.needed import Needed
from pebench.data.problems import ASK, BEGIN, END, MOST_PAIRS, PROBLEMS, Question
from pebench.data.scan import (
    COMMAND_WORDS,
    DIVISIONS,
    JUMP,
    MOST_PRIMITIVES,
    TRAINED_VERBS,
    is_held_out,
    primitive_verbs,
    read_scan,
    scan_files,
    single,
    with_verbs,
)
from pebench.errors import UserError
from pebench.models.answers import Example, answer_batch, score_answers
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation, PositionEncoding
from pebench.randomness import generator
from pebench.specification.options import Added
from pebench.specification.run_spec import Once
from pebench.store.example_scores import Examples, Ratio
from pebench.store.task_record import EvaluationData
from pebench.task import MOST, Batch, Evaluation, Metric
from pebench.task_bases.decoder_task import LONGEST, AnsweringTask, ExtentOptions

Length = Annotated[int, Field(ge=1, le=LONGEST)]


class LengthGeneralizationOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        problem: what is to be learnt. In ``addition-reversed`` and ``addition-operands`` every number begins
            with its units; in the latter lengths count numbers of two digits. ``scan``, ``scan-jump``
            and ``scan-simple`` are SCAN's length, jump and simple split, whose lengths count actions.
        data: for SCAN, the folder of its files, as ``tasks_train_length.txt`` and ``tasks_test_length.txt``
            (``addprim_jump`` and ``simple`` in place of ``length`` for the others).
        extent: the longest problem in training; shorter ones are as frequent. For ``scan`` it is 22 unless
            said otherwise, as in the published split, and 48 for the other two.
        evaluate: lengths to test at; by default 1, 2 and 4 times the trained one, for ``scan`` 22, 28, 36 and
            48, and 48 for the other two. Problems have exactly that length; in SCAN those above the length
            before it count too.
        examples: tested a length, at the most for SCAN.
        primitives: for ``scan-jump``, made-up verbs that training commands are drawn with beside walk, look
            and run, each as often as another. "jump" stands alone as before, and the same commands are
            tested. Commands of one word, a tenth of the published file and all but three of them "jump", are
            drawn of all verbs alike, jump among them: otherwise a command's length alone tells its action.
            With none it is the published split; with many, Patel et al. 2022
            (https://arxiv.org/abs/2203.07402) saw Transformers solve it.
    """

    times: ClassVar[tuple[int, ...]] = (1, 2, 4)

    problem: Literal[
        "copy",
        "reverse",
        "sort",
        "addition",
        "addition-reversed",
        "addition-operands",
        "parity",
        "modular-arithmetic",
        "associative-recall",
        "scan",
        "scan-jump",
        "scan-simple",
    ] = "copy"
    data: str | None = None
    extent: Length = 20
    evaluate: Annotated[tuple[Length, ...], Once] = ()
    examples: Annotated[int, Field(ge=1, le=MOST)] = 200
    primitives: Annotated[int, Field(ge=0, le=MOST_PRIMITIVES), Added()] = 0

    @model_validator(mode="before")
    @classmethod
    def _published_split(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("problem") in tuple(DIVISIONS):
            return {"extent": DIVISIONS[value["problem"]].trained, **value}
        return value

    @model_validator(mode="after")
    def _fits(self) -> LengthGeneralizationOptions:
        scan = self.problem in DIVISIONS
        if scan and self.data is None:
            raise ValueError(f"the problem '{self.problem}' needs 'data', the folder of its files")
        if not scan and self.data is not None:
            raise ValueError(f"the problem '{self.problem}' is generated and takes no 'data'")
        if self.primitives and self.problem != "scan-jump":
            raise ValueError(f"'primitives' are for the problem 'scan-jump', not for '{self.problem}'")
        if sorted(self.evaluate) != list(self.evaluate):
            raise ValueError("the lengths to evaluate at must rise")
        longest = max(self.extent, *self.extents)
        if self.problem == "associative-recall" and longest > MOST_PAIRS:
            raise ValueError(
                f"there are keys for {MOST_PAIRS} pairs, not for {longest}: take an 'extent' and lengths to "
                f"'evaluate' at up to {MOST_PAIRS}"
            )
        return self

    @property
    def extents(self) -> tuple[int, ...]:
        """The lengths to test at."""
        if self.problem in DIVISIONS:
            return self.evaluate or DIVISIONS[self.problem].lengths
        return super().extents


class LengthGeneralization(AnsweringTask[LengthGeneralizationOptions]):
    """A causal decoder that reads a question symbol by symbol and writes the answer.

    What it takes to go beyond the trained lengths is the question, and few settings do. At the trained length
    `rope` must solve ``copy`` in two layers, and `none` must not.
    ``scan-simple`` it must learn in two layers. Of ``scan`` commands of 24 actions `none` and `alibi` must
    write more than `rope` and `t5`. ``scan-jump`` no model has been seen to solve: as published none of it,
    and with a hundred ``primitives`` at most 45 %, by the seed more than by the encoding.
    ``addition-operands`` of two numbers `rope` must solve in one layer of four heads, and `none` must not. In
    two layers `none` must solve it too, and of four numbers as well: those are the control.
    """

    item = "tokens"
    Options = LengthGeneralizationOptions

    def __init__(self, options: LengthGeneralizationOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._ids: dict[str, int] = {}
        self._scan: dict[str, list[Question]] = {}
        self._verbs = primitive_verbs(options.primitives)
        self.extent_unit = "actions"
        if options.problem not in DIVISIONS:
            self.extent_unit = PROBLEMS[options.problem].length
            self._name(PROBLEMS[options.problem].symbols)

    def positions(self, extent: tuple[int, ...]) -> tuple[int, ...]:
        """The symbols that a model reads at a length: question and answer, and a mark before each."""
        (length,) = extent
        if self.options.problem in DIVISIONS:
            return (COMMAND_WORDS + length + 2,)
        return (PROBLEMS[self.options.problem].size(length) + 2,)

    def evaluation_data(self) -> EvaluationData:
        """The problem, and the folder of SCAN's files."""
        options = self.options
        return EvaluationData(names=(options.problem,), paths=(options.data,) if options.data else ())

    def metrics(self) -> tuple[Metric, ...]:
        """Exact match of greedy decoding, and the symbols that are right after a right beginning."""
        return (Metric("exact-match", "%", True), Metric("symbol-accuracy", "%", True))

    def needed(self) -> tuple[Needed, ...]:
        """The files of SCAN."""
        if self.options.data is None:
            return ()
        at = {"problem": self.options.problem, "folder": self.options.data}
        return (Needed(look="pebench.data.scan:scan_files", at=at),)

    def prepare(self) -> dict[str, str]:
        """Reads SCAN; the other problems are drawn when they are needed.

        Raises:
            UserError: it is not there, or has no problem of a length.
        """
        if self.options.data is None:
            return {}
        files = scan_files(self.options.problem, self.options.data)
        questions = {split: read_scan(part) for split, part in files.items()}
        symbols = sorted({symbol for part in questions.values() for q in part for symbol in (*q[0], *q[1])})
        made_up = self._verbs[len(TRAINED_VERBS) :]
        self._name([*symbols, *(symbol for verb in made_up for symbol in verb)])
        kept = [q for q in questions["train"] if len(q.answer) <= self.options.extent]
        if DIVISIONS[self.options.problem].by_length:
            longer = [q for q in questions["test"] if len(q.answer) > self.options.extent]
            held_out = [q for q in kept if is_held_out(q)]
            self._scan = {"train": [q for q in kept if not is_held_out(q)], "test": held_out + longer}
        else:
            self._scan = {"train": kept, "test": questions["test"]}
        for length in self.options.extents:
            if not self._tested(length):
                raise UserError(f"SCAN has no command of the lengths that are tested up to {length}.")
        return {split: files[split].fingerprint() for split in files}

    def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
        """The decoder for the problem's symbols."""
        return Decoder(self.geometry(), len(self._ids), encoding, self.model, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Problems of random lengths up to the trained one."""
        longest = self._longest_answer()
        examples = [self._example(question) for question in self._drawn(seed, split, step, size)]
        return answer_batch(examples, self.geometry().extent[0], longest + 1)

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Every symbol of an answer must be the most likely one after those before it, which is what greedy
        decoding would write; so one pass over question and answer tells whether it would be right."""
        assert isinstance(model, Decoder)
        examples = [self._example(question) for question in self._tested(*reach.extent)]
        served = reach._replace(extent=self.positions(reach.extent))
        found = score_answers(model, examples, served)
        read = sum(example.length for example in examples)
        if any(math.isnan(scored.nats) for scored in found):
            return Evaluation({metric.name: math.nan for metric in self.metrics()}, read)
        kept = Examples(
            ratios=(
                Ratio(metric="exact-match", over="exact"),
                Ratio(metric="symbol-accuracy", over="right", under="symbols"),
            ),
            columns={
                "exact": tuple(int(scored.right == scored.tokens) for scored in found),
                "right": tuple(scored.right for scored in found),
                "symbols": tuple(scored.tokens for scored in found),
            },
            counts={"problems": len(found)},
        )
        return Evaluation(kept.scores(), read, (kept,))

    def _drawn(self, seed: int, split: str, step: int, size: int) -> list[Question]:
        """The problems of a batch."""
        draws = generator(seed, "batch", split, step)
        if self.options.problem not in DIVISIONS:
            lengths = torch.randint(1, self.options.extent + 1, (size,), generator=draws).tolist()
            return [PROBLEMS[self.options.problem].draw(length, draws) for length in lengths]
        among = self._scan["train"]
        questions = [among[n] for n in torch.randint(len(among), (size,), generator=draws).tolist()]
        if not self.options.primitives:
            return questions
        every = (*self._verbs, JUMP)
        others = torch.randint(len(self._verbs), (size, len(TRAINED_VERBS)), generator=draws).tolist()
        alone = torch.randint(len(every), (size,), generator=draws).tolist()
        return [
            single(every[number])
            if len(question.question) == 1
            else with_verbs(question, [self._verbs[other] for other in numbers])
            for question, numbers, number in zip(questions, others, alone, strict=True)
        ]

    def _tested(self, length: int) -> list[Question]:
        """The problems of a length, the same for every encoding and every seed."""
        count = self.options.examples
        draws = generator(0, "evaluation", self.options.problem, length)
        if self.options.problem not in DIVISIONS:
            return [PROBLEMS[self.options.problem].draw(length, draws) for _ in range(count)]
        below = max((other for other in self.options.extents if other < length), default=0)
        among = [q for q in self._scan["test"] if below < len(q.answer) <= length]
        chosen = torch.randperm(len(among), generator=draws)[:count].tolist()
        return [among[number] for number in chosen]

    def _longest_answer(self) -> int:
        trained = self.options.extent
        return (
            trained if self.options.problem in DIVISIONS else PROBLEMS[self.options.problem].answer(trained)
        )

    def _example(self, question: Question) -> Example:
        prompt = [self._ids[symbol] for symbol in (BEGIN, *question.question, ASK)]
        return Example(prompt, [self._ids[symbol] for symbol in (*question.answer, END)])

    def _name(self, symbols: tuple[str, ...] | list[str]) -> None:
        self._ids = {symbol: number for number, symbol in enumerate((BEGIN, ASK, END, *symbols))}
