"""Any task of lm-eval, asked of a model that another run trained; its scores are those of the run."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from pebench.data.cache import digest
from pebench.data.drawn import Choice, drawn, where_limited
from pebench.data.files import place_of, told
from pebench.data.tokenizer_file import TOKENIZER_FILE, read_tokenizer
from pebench.errors import UserError, unknown
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation, PositionEncoding, Table
from pebench.specification.options import Added
from pebench.specification.run_spec import Once
from pebench.store.example_scores import Examples, Ratio
from pebench.store.task_record import EvaluationData
from pebench.task import Batch, Evaluation, Metric
from pebench.task_bases.decoder_task import ExtentOptions, Length
from pebench.task_bases.text_task import TextTask

BOOTSTRAP = 1000
"""Draws for the standard error of a metric that has no formula for it, such as a perplexity."""


class LmEvalOptions(ExtentOptions):
    """Options of the task.

    Attributes:
        tasks: names of lm-eval's tasks or groups, which 'pebench lm-eval ls tasks' lists. The first metric
            of the first is the headline.
        include: a folder with further tasks in YAML files.
        extent: tokens that the model was trained on.
        evaluate: lengths to cut contexts to, one evaluation each. By default nothing is cut, and the scores
            stand at the trained extent.
        shots: solved examples before each question; by default what each task says.
        limit: examples of each task; by default all.
        choice: which examples these are: drawn from all of a task, once for all runs; or its first, as
            lm-eval's own command takes them and runs did before there was the choice.
        metadata: what some tasks want to know, as RULER's `max_seq_lengths`.
    """

    times: ClassVar[tuple[int, ...]] = (1,)

    tasks: Annotated[tuple[str, ...], Field(min_length=1), Once]
    include: str | None = None
    extent: Length = 128
    shots: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    choice: Annotated[Choice, Added(before="beginning")] = "spread"
    metadata: dict[str, Any] = Field(default_factory=dict)

    _settled = model_validator(mode="before")(where_limited("limit"))


class LmEval(TextTask[LmEvalOptions]):
    """A language model and its tokenizer from another run, and no training.

    Which baseline must solve it, and which must not, depends on the tasks that are asked: none is named.
    """

    item = "tokens"
    vocabulary = "tokenizer"
    version = 2
    Options = LmEvalOptions

    def __init__(self, options: LmEvalOptions, model: DecoderOptions) -> None:
        super().__init__(options, model)
        self._loaded: dict[str, Any] = {}
        self._found: dict[str, Metric] = {}

    def check(self) -> None:
        """Finds the tasks.

        Raises:
            UserError: one does not exist, or something is to be trained.
        """
        self._refuse_training()
        _manager(self.options)

    def inherit(self, folder: Path) -> None:
        """Takes over the tokenizer."""
        self._tokenizer = read_tokenizer(folder / TOKENIZER_FILE)

    def prepare(self) -> dict[str, str]:
        """Loads the tasks and their data.

        Raises:
            UserError: a task or its data is not there, or there is no model to ask.
        """
        self._refuse_training()
        if self._tokenizer is None:
            raise UserError(_NO_START)
        with _quiet():
            try:
                self._loaded = _manager(self.options).load(list(self.options.tasks))
            except (ConnectionError, OSError, ImportError, ValueError) as error:
                reason = " ".join(str(error).split()).rstrip(".")
                raise UserError(f"lm-eval cannot load {', '.join(self.options.tasks)}: {reason}.") from error
            tasks = self._loaded["tasks"]
            for task in tasks.values():
                self._configure(task)
            data = {f"lm-eval {name}": _fingerprint(task) for name, task in tasks.items()}
        return {"tokenizer": self._tokenizer.fingerprint, **data}

    def evaluation_data(self) -> EvaluationData | None:
        """The tasks, where nothing is cut and nothing chosen that they settle themselves."""
        changed = self.options.evaluate or self.options.include or self.options.shots is not None
        if changed:
            return None
        return EvaluationData(names=self.options.tasks, whole=self.options.limit is None)

    def metrics(self) -> tuple[Metric, ...]:
        """Those of the tasks, each with its standard error, those of a group before those of its members."""
        declared = {metric.name: metric for metric in _declared(self._loaded)}
        return tuple((declared | self._found).values())

    def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
        """The decoder that the weights of the other run fit into.

        Raises:
            UserError: it was trained for another extent than was said.
        """
        assert self._tokenizer is not None, "prepare() or restore() comes first"
        (trained,) = encoding.geometry.extent
        if trained != self.options.extent:
            raise UserError(
                f"the model was trained for {trained} tokens: give task 'lm-eval' extent: {trained}."
            )
        return Decoder(self.geometry(), self._tokenizer.vocabulary_size, encoding, self.model, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """There is none."""
        raise UserError(_NO_TRAINING)

    def weight(self, batch: Batch) -> float:
        """There is no batch."""
        raise UserError(_NO_TRAINING)

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """There is no batch."""
        raise UserError(_NO_TRAINING)

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Scores of lm-eval; no number where the model predicts none."""
        from lm_eval.evaluator import evaluate

        from pebench.models.generation import NoNumber
        from pebench.models.lm_eval_model import DecoderLM

        assert isinstance(model, Decoder)
        assert self._tokenizer is not None
        lm = DecoderLM(
            model,
            self._tokenizer,
            max_length=reach.extent[0] if self.options.evaluate else None,
            extrapolation=reach.method,
            progress=False,
        )
        try:
            with _quiet():
                results = evaluate(
                    lm, self._loaded, **self._some(), bootstrap_iters=BOOTSTRAP, log_samples=True
                )
        except NoNumber:
            return Evaluation({metric.name: math.nan for metric in self.metrics()}, lm.tokens_read)
        scores: dict[str, float] = {}
        for name, better, value in _scores(results):
            scores[name] = value
            self._found[name] = Metric(name, "", better)
        examples = tuple(_examples(results, scores))
        for one in examples:
            scores |= one.scores()
        return Evaluation(scores, lm.tokens_read, examples)

    def _some(self) -> dict[str, Any]:
        """Which examples lm-eval is to ask, where that is not all of them."""
        limit = self.options.limit
        if limit is None or self.options.choice == "beginning":
            return {"limit": limit}
        counts = {name: len(task.eval_docs) for name, task in self._loaded["tasks"].items()}
        return {"samples": {name: drawn(range(count), limit, name) for name, count in counts.items()}}

    def _configure(self, task: Any) -> None:
        """Sets the number of solved examples and draws them as lm-eval's own command does."""
        from lm_eval.defaults import DEFAULT_OTHER_SEED

        own = task.get_config("num_fewshot")
        if own != 0 and self.options.shots is not None:
            task.set_config(key="num_fewshot", value=self.options.shots)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)

    def _refuse_training(self) -> None:
        if self.trains:
            raise UserError(_NO_TRAINING)


_NO_TRAINING = (
    "task 'lm-eval' trains nothing: set its train.steps to 0, and with 'from' the run that trained the model."
)
_NO_START = "task 'lm-eval' needs a run to start from: name it with 'from'."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps lm-eval's progress bars and notes out of the display of the run, and its pools of processes away:
    a run is one process."""
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


def _manager(options: LmEvalOptions) -> Any:
    """Index of the tasks. lm-eval's own are thousands of files, and left out where none is asked for."""
    from lm_eval.tasks import TaskManager

    include = None
    if options.include is not None:
        include = place_of(options.include)
        if not Path(include).is_dir():
            raise UserError(f"there is no folder {told(options.include)} of tasks for lm-eval.")
        own = TaskManager(include_path=include, include_defaults=False, metadata=options.metadata)
        if {*options.tasks} <= {*own.all_tasks}:
            return own
    every = TaskManager(include_path=include, metadata=options.metadata)
    for name in options.tasks:
        if name not in every.all_tasks:
            raise unknown("task of lm-eval", name, every.all_tasks)
    return every


def _fingerprint(task: Any) -> str:
    """Stands for the definition and the documents of a task."""
    definition = json.dumps(task.dump_config(), sort_keys=True, default=str)
    documents = [json.dumps(document, sort_keys=True, default=str) for document in task.eval_docs]
    return digest([task.VERSION, definition, *documents])


def _name(task: str, metric: str, chosen: str) -> str:
    """``arc_easy-acc``, or ``gsm8k-exact_match-strict-match`` for a filter of answers that has a name."""
    name = "-".join([task, metric, *([chosen] if chosen != "none" else [])])
    return re.sub(r"[^\w.-]+", "-", name)


def _pair(task: str, metric: str, chosen: str, better: bool) -> Iterator[Metric]:
    yield Metric(_name(task, metric, chosen), "", better)
    yield Metric(_name(task, f"{metric}-stderr", chosen), "", False)


def _declared(loaded: dict[str, Any]) -> Iterator[Metric]:
    """The metrics that tasks and groups announce."""
    tasks = loaded.get("tasks", {})
    directions: dict[str, bool] = {}
    for task in tasks.values():
        directions |= {metric: better is not False for metric, better in task.higher_is_better().items()}
    for name, group in loaded.get("groups", {}).items():
        for metric in group.aggregate_metric_list or ():
            for each in metric.filter_list or ("none",):
                yield from _pair(name, metric.metric, each, directions.get(metric.metric, True))
    for name, task in tasks.items():
        for each in task._filters:
            for metric, better in task.higher_is_better().items():
                yield from _pair(name, metric, each.name, better is not False)


def _scores(results: dict[str, Any]) -> Iterator[tuple[str, bool, float]]:
    """Names, directions and values of all numbers in what lm-eval gives back."""
    for task, values in results["results"].items():
        directions = results["higher_is_better"].get(task, {})
        for key, value in values.items():
            metric, comma, chosen = key.partition(",")
            if not comma or isinstance(value, (str, bool)) or value is None:
                continue
            if metric.endswith("_stderr"):
                yield _name(task, f"{metric.removesuffix('_stderr')}-stderr", chosen), False, float(value)
            else:
                yield _name(task, metric, chosen), directions.get(metric) is not False, float(value)


def _examples(results: dict[str, Any], scores: Mapping[str, float]) -> Iterator[Examples]:
    """The documents behind the metrics that are means over them, in what lm-eval gives back."""
    for task, samples in results.get("samples", {}).items():
        for chosen in dict.fromkeys(sample["filter"] for sample in samples):
            own = sorted((s for s in samples if s["filter"] == chosen), key=lambda s: int(s["doc_id"]))
            columns: dict[str, tuple[float, ...]] = {}
            for metric in own[0]["metrics"]:
                name = _name(task, metric, chosen)
                values = [sample.get(metric) for sample in own]
                if name not in scores or not all(isinstance(value, (bool, int, float)) for value in values):
                    continue
                column = tuple(float(value) for value in values)
                if math.isclose(math.fsum(column) / len(column), scores[name], rel_tol=1e-9, abs_tol=1e-12):
                    columns[name] = column
            if columns:
                yield Examples(
                    ratios=tuple(Ratio(metric=name, over=name, form="mean") for name in columns),
                    columns={"document": tuple(int(sample["doc_id"]) for sample in own), **columns},
                    counts={"documents": len(own)},
                )
