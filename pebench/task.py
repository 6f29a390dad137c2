"""The contract of a task: the data, the model around an encoding, and the metrics of one modality."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    TypeVar,
    runtime_checkable,
)

from pydantic import BaseModel
from torch import Tensor, nn

from pebench.data.needed import Needed
from pebench.position_encoding import Compile, Extrapolation, Geometry, PositionEncoding, Table
from pebench.specification.plugin_ref import ExtrapolationRef
from pebench.specification.run_spec import Frozen
from pebench.store.example_scores import Examples
from pebench.store.task_record import EvaluationData

if TYPE_CHECKING:
    from pebench.data.tokenization import Tokenizer

Batch = dict[str, Tensor]
"""Tensors by name; dimension 0 of each is the example."""

MOST = 1_000_000
"""Kinds of tokens, of which each has a row of the embedding, and examples that are drawn at once."""


class Metric(NamedTuple):
    """How one number is to be read.

    Attributes:
        name: says the protocol too, for example ``"perplexity-sliding-64"``.
        unit: for example ``"bits/byte"``; empty where there is none.
        higher_is_better: which way is up.
    """

    name: str
    unit: str
    higher_is_better: bool


class Evaluation(NamedTuple):
    """Outcome of one evaluation.

    Attributes:
        scores: value by metric name.
        items: how many items (tokens, images) the model read for it, for the throughput.
        examples: scores of single documents, questions or pictures from which those are computed, so that
            tables know how much of their uncertainty is the choice of the text.
    """

    scores: dict[str, float]
    items: int
    examples: tuple[Examples, ...] = ()


class PositionedModel(Protocol):
    """Demands of training and evaluation on a task's model, beside being a module."""

    encoding: PositionEncoding

    def kernels(self) -> list[str]:
        """The attention kernels that the last forward pass used, sorted."""
        ...


@runtime_checkable
class CompiledInParts(Protocol):
    """A model that says how it is compiled. Any other is compiled with its loss, as one graph."""

    def compiled_for_training(
        self, loss: Callable[..., Tensor], compile_whole: Compile
    ) -> Callable[..., Tensor]:
        """Called once before training that is compiled. May put compiled forms in place of the model's parts,
        for training alone.

        Args:
            loss: `Task.loss`.
            compile_whole: makes the compiled form of a function.

        Returns:
            The loss to train by: its compiled form, or itself where the parts are compiled.
        """
        ...


TaskOptions = TypeVar("TaskOptions", bound=BaseModel)
ModelOptions = TypeVar("ModelOptions", bound=BaseModel)


class Task(ABC, Generic[TaskOptions, ModelOptions]):
    """Base of all tasks.

    A task is built from its options and its model's options alone and reads no data until `prepare`, so that
    a sweep can be checked on a machine that has none.

    Class attributes, literals so that they can be read without importing the file:
        axes: number of position axes of its tokens.
        causal: whether its model's attention is causal.
        item: what throughput counts, ``"tokens"`` or ``"images"``.
        version: raised when a change alters results, so that old runs are not taken for new ones.
        holds_out: whether it has examples for encodings that fit numbers of their own, see `held_out_loss`.
        vocabulary: name of the fingerprint, of those of `prepare`, that says what the model's tokens mean, as
            ``"tokenizer"``. A run can only start from weights of the same vocabulary. None without tokens.
    And two models that refuse unknown keys:
        Options: the task's options. Model: those of the model it builds.
    """

    axes: ClassVar[int]
    causal: ClassVar[bool]
    item: ClassVar[str]
    version: ClassVar[int] = 1
    holds_out: ClassVar[bool] = False
    vocabulary: ClassVar[str | None] = None
    Options: ClassVar[type[Frozen]]
    Model: ClassVar[type[Frozen]]

    extent_unit: str = "positions"
    """Unit of the extents in its options and results; some tasks learn it from their options."""

    trains: bool = True
    """Whether the run trains at all. Where it does not, `prepare` needs no data to train on."""

    def __init__(self, options: TaskOptions, model: ModelOptions) -> None:
        self.options = options
        self.model = model

    @abstractmethod
    def geometry(self) -> Geometry:
        """Geometry that an encoding will be built for."""

    @abstractmethod
    def extents(self) -> list[tuple[int, ...]]:
        """The extents to evaluate at, in order."""

    def positions(self, extent: tuple[int, ...]) -> tuple[int, ...]:
        """Positions an axis that an evaluation at an extent takes: by default the extent itself. A task whose
        extents count something else, such as pixels or the digits of a sum, says here how much room that
        needs."""
        return extent

    def trained_extent(self) -> tuple[int, ...]:
        """The extent that it trains at, in the unit of `extents`. Tables mark it, and nothing is extrapolated
        up to it. By default that of `geometry`, which is right where `positions` changes nothing."""
        return self.geometry().extent

    def extrapolations(self) -> tuple[ExtrapolationRef, ...]:
        """The ways past the trained extent to measure, of those that an encoding offers. Empty, the default,
        is the one that the encoding prefers."""
        return ()

    @classmethod
    def on_split(cls, split: str) -> dict[str, Any]:
        """The options with which it evaluates on a split of its data, for a sweep that chooses on one and
        reports on another; empty for a task whose evaluation has no splits. By default ``split``, where there
        is such an option."""
        return {"split": split} if "split" in cls.Options.model_fields else {}

    def evaluation_data(self) -> EvaluationData | None:
        """The data and the protocol of its evaluations, by which `pebench leaderboard --published` finds the
        figures that stand beside them. None, the default, is for data that nobody else has."""
        return None

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics it reports, the headline first."""

    def needed(self) -> tuple[Needed, ...]:
        """Data that can be looked for without reading any, and without the task; none by default."""
        return ()

    def require_possible(self, starts: bool) -> None:
        """Refuses options with which no run could be carried out, as far as they tell it without any data;
        nothing by default. Called when a run is specified.

        Args:
            starts: whether the run starts from another one, whose tokenizer it may take over.

        Raises:
            UserError: it could not.
        """

    def check(self) -> None:
        """Refuses data that can be seen to be missing, without reading any; called where the run will take
        place. By default it looks for what is `needed`, and whoever has the list may do so in its place.

        Raises:
            UserError: it is not there.
        """
        for data in self.needed():
            data.find()

    def inherit(self, folder: Path) -> None:
        """Takes over what the task of another run wrote with `keep`, for a run that starts from that one's
        weights; nothing by default. Called before `prepare`.

        Args:
            folder: of the other run.

        Raises:
            UserError: it cannot be read.
        """

    @abstractmethod
    def prepare(self) -> dict[str, str]:
        """Gets the data ready, from the cache if it is there; safe when several processes call it at once.

        Returns:
            A fingerprint of what was read, by name: two runs are comparable only if these agree.

        Raises:
            UserError: the data is not there or cannot be read.
        """

    def keep(self, folder: Path) -> None:
        """Writes into the folder of a run what its model needs beside its weights to be used without the
        data; nothing by default. Called after `prepare`."""

    def restore(self, folder: Path) -> dict[str, str]:
        """Gets ready to `build` the model of a finished run for use, from what `keep` wrote; by default from
        the data.

        Returns:
            The fingerprints, as `prepare` names them, of what was read.

        Raises:
            UserError: what is needed is not there or cannot be read.
        """
        return self.prepare()

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Tokenizer of its model, known after `prepare` or `restore`; None for
        a model that reads no text."""
        return None

    @abstractmethod
    def build(self, encoding: PositionEncoding, seed: int) -> nn.Module:
        """The model around an encoding, a `PositionedModel`. With one seed every weight that is not the
        encoding's own is the same whatever the encoding. Called after `prepare` or `restore`."""

    @abstractmethod
    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """The examples of a step, on the CPU: a pure function of the arguments."""

    @abstractmethod
    def weight(self, batch: Batch) -> float:
        """How many items the loss of a batch counts; losses are divided by it."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """The scalar sum of the losses of the items of a batch."""

    @abstractmethod
    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """The scores at one extent, reached by one method. Called without gradients, in evaluation mode."""

    def hold_out(self) -> None:
        """Gets examples ready that are neither trained nor evaluated on. Called after `prepare`, where the
        encoding fits numbers of its own, of a task that `holds_out`.

        Raises:
            UserError: there are none.
        """
        raise NotImplementedError

    def held_out_loss(self, model: nn.Module, reach: Extrapolation) -> float:
        """The mean loss of an item of those examples, at one extent. Called like `evaluate`."""
        raise NotImplementedError

    def conclude(
        self, found: Mapping[Extrapolation, Mapping[str, float]]
    ) -> dict[Extrapolation, dict[str, float]]:
        """Scores that take several evaluations to tell; none by default.

        Args:
            found: every score by metric name, for each evaluation in order.

        Returns:
            The further ones, likewise.
        """
        return {}

    def items(self, batch: Batch) -> int:
        """How many items the model reads for a batch, for the throughput."""
        return int(next(iter(batch.values())).shape[0])


AnyTask = Task[Any, Any]
