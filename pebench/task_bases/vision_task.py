"""Base of the tasks in which a vision Transformer is trained at one extent and evaluated at several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pebench.errors import UserError
from pebench.models.vision import VisionOptions
from pebench.position_encoding import Geometry
from pebench.specification.plugin_ref import ExtrapolationRef
from pebench.task import Task


class Extents(Protocol):
    """What `VisionTask` reads of the options of a task.

    Attributes:
        extent: of training, in pixels or whatever else the task counts.
        extrapolations: ways past the trained extent to measure; None is the one that the encoding prefers.
    """

    @property
    def extent(self) -> Sequence[int]: ...
    @property
    def extrapolations(self) -> tuple[ExtrapolationRef, ...] | None: ...


Options = TypeVar("Options", bound=Extents)
Model = TypeVar("Model", bound=VisionOptions)


class VisionTask(Task[Options, Model]):  # type: ignore[type-var]
    """A classifier whose tokens are patches."""

    @property
    def sides(self) -> tuple[int, ...]:
        """What a patch takes of each axis of an extent."""
        return self.model.outline().patch

    def geometry(self) -> Geometry:
        """The model's, for the trained grid of patches."""
        return self.model.outline().geometry(self.positions(self.trained_extent()))

    def positions(self, extent: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of patches of an extent.

        Raises:
            UserError: it does not divide into patches.
        """
        if any(size % side for size, side in zip(extent, self.sides, strict=True)):
            written = ("×".join(map(str, sizes)) for sizes in (extent, self.sides))
            raise UserError("an extent of {} does not divide into patches of {}.".format(*written))
        return tuple(size // side for size, side in zip(extent, self.sides, strict=True))

    def trained_extent(self) -> tuple[int, ...]:
        """The extent of training."""
        return tuple(self.options.extent)

    def extrapolations(self) -> tuple[ExtrapolationRef, ...]:
        """Those of its options."""
        return self.options.extrapolations or ()
