"""Base of the tasks in which a causal decoder is trained at one extent and evaluated at several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pebench.models.host import DecoderOptions
from pebench.plugin_ref import ExtrapolationRef
from pebench.position_encoding import Geometry
from pebench.task import Batch, Task


class Extents(Protocol):
    """Options of such a task.

    Attributes:
        extent: tokens of a training sequence.
        extents: the extents to evaluate at, in tokens.
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
    """A decoder that reads tokens."""

    def geometry(self) -> Geometry:
        """The decoder's, for the trained extent."""
        return self.model.geometry(self.options.extent)

    def extents(self) -> list[tuple[int, ...]]:
        """The extents to evaluate at."""
        return [(extent,) for extent in self.options.extents]

    def extrapolations(self) -> tuple[ExtrapolationRef, ...]:
        """Those of its options."""
        return self.options.extrapolations or ()

    def items(self, batch: Batch) -> int:
        """Tokens read."""
        return batch["tokens"].numel()
