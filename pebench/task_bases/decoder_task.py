"""Base of the tasks in which a causal decoder is trained at one extent and evaluated at several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Protocol, TypeVar

from pydantic import Field
from torch import Tensor, nn

from pebench.models.answers import answer_loss, answer_weight
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Geometry, Table
from pebench.specification.plugin_ref import ExtrapolationRef
from pebench.specification.run_spec import Extrapolations, Frozen, Once
from pebench.task import Batch, Task

LONGEST = 1 << 24
"""Positions that are told apart in float32, in which encodings compute with them."""

Length = Annotated[int, Field(ge=2, le=LONGEST)]
"""Tokens of a sequence."""


class ExtentOptions(Frozen):
    """Options of a task whose extents count tokens.

    Attributes:
        extent: tokens of a training sequence.
        evaluate: extents to evaluate at; by default 1, 2, 4, 8 and 16 times the trained one.
        extrapolations: ways past the trained extent to measure, of those that an encoding offers; by default
            the one that the encoding prefers.
    """

    times: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)
    """The usual extents to evaluate at, in multiples of the trained one."""

    extent: Length = 512
    evaluate: Annotated[tuple[Length, ...], Once] = ()
    extrapolations: Extrapolations = None

    @property
    def extents(self) -> tuple[int, ...]:
        """The extents to evaluate at."""
        return self.evaluate or tuple(self.extent * times for times in self.times)


class Extents(Protocol):
    """What `DecoderTask` reads of the options of a task.

    Attributes:
        extent: of training.
        extents: to evaluate at.
        extrapolations: ways past the trained extent to measure; None is the one that the encoding prefers.
    """

    @property
    def extent(self) -> int: ...
    @property
    def extents(self) -> Sequence[int]: ...
    @property
    def extrapolations(self) -> tuple[ExtrapolationRef, ...] | None: ...


Options = TypeVar("Options", bound=Extents)


class DecoderTask(Task[Options, DecoderOptions]):  # type: ignore[type-var]
    """A causal decoder that reads tokens."""

    axes = 1
    causal = True
    Model = DecoderOptions

    def geometry(self) -> Geometry:
        """The decoder's, for the trained extent."""
        (positions,) = self.positions(self.trained_extent())
        return self.model.geometry(positions)

    def extents(self) -> list[tuple[int, ...]]:
        """The extents to evaluate at."""
        return [(extent,) for extent in self.options.extents]

    def trained_extent(self) -> tuple[int, ...]:
        """The extent of training."""
        return (self.options.extent,)

    def extrapolations(self) -> tuple[ExtrapolationRef, ...]:
        """Those of its options."""
        return self.options.extrapolations or ()

    def items(self, batch: Batch) -> int:
        """Tokens read."""
        return batch["tokens"].numel()


class AnsweringTask(DecoderTask[Options]):
    """A decoder that is trained on answers alone; its batches are those of `answer_batch`."""

    def weight(self, batch: Batch) -> float:
        """Tokens of the answers, the end included."""
        return answer_weight(batch)

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum of the negative log-likelihoods of the answers in nats."""
        assert isinstance(model, Decoder)
        return answer_loss(model, batch, table)
