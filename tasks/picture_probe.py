"""Places in pictures: what is left of what, in which order pieces stand, how many are on one side."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pebench.data.images.marks import QUESTIONS, draw_pictures
from pebench.models.vision import VisionModel, VisionOptions
from pebench.position_encoding import Extrapolation, PositionEncoding, Table, grid, tabulate
from pebench.randomness import generator
from pebench.specification.run_spec import Extrapolations, Frozen, Once
from pebench.store.example_scores import Examples, Ratio
from pebench.task import MOST, Batch, Evaluation, Metric
from pebench.task_bases.vision_task import VisionTask

PATCHES_AT_ONCE = 16_384
"""Patches in a batch of evaluation, whatever the extent: memory is bounded."""

Size = Annotated[int, Field(ge=4, le=1024)]
Grid = tuple[Size, Size]


class PictureProbeOptions(Frozen):
    """Options of the task.

    Attributes:
        question: ``relation``: whether a bright patch stands above a dark one, and whether left of it.
            ``jigsaw``: in which of 24 orders the quarters of a disc stand. ``count``: how many of four bright
            patches stand left of a dark one.
        extent: rows and columns of patches of a training picture.
        evaluate: extents to evaluate at; by default the trained one, twice the columns, and 2 and 3 times
            both.
        pictures: for each extent.
        extrapolations: ways past the trained extent to measure, of those that an encoding offers; by default
            the one that the encoding prefers.
    """

    question: Literal["relation", "jigsaw", "count"] = "relation"
    extent: Grid = (8, 8)
    evaluate: Annotated[tuple[Grid, ...], Once] = ()
    pictures: Annotated[int, Field(ge=1, le=MOST)] = 500
    extrapolations: Extrapolations = None

    @model_validator(mode="after")
    def _even(self) -> PictureProbeOptions:
        odd = [extent for extent in (self.extent, *self.extents) if any(size % 2 for size in extent)]
        if QUESTIONS[self.question].even and odd:
            rows, columns = odd[0]
            even = f"{rows + rows % 2}×{columns + columns % 2}"
            raise ValueError(f"a picture of {rows}×{columns} patches has no equal quarters: take {even}")
        return self

    @property
    def extents(self) -> tuple[Grid, ...]:
        """The extents to evaluate at."""
        rows, columns = self.extent
        return self.evaluate or (self.extent, *((rows * r, columns * c) for r, c in ((1, 2), (2, 2), (3, 3))))


class PictureProbe(VisionTask[PictureProbeOptions, VisionOptions]):
    """A vision Transformer that classifies drawn pictures by where their patches stand.

    The patches of a picture in any order tell nothing of its class, so that `none` cannot do better than
    chance: 25 % in ``relation``, 4.2 % in ``jigsaw`` and 20 % in ``count``. `rope-axial` must solve all three
    at the trained extent.
    """

    axes = 2
    causal = False
    item = "images"
    extent_unit = "patches"
    Options = PictureProbeOptions
    Model = VisionOptions

    def positions(self, extent: tuple[int, ...]) -> tuple[int, ...]:
        """The extent itself, which counts patches."""
        return extent

    def extents(self) -> list[tuple[int, ...]]:
        """The grids to evaluate at."""
        return list(self.options.extents)

    def metrics(self) -> tuple[Metric, ...]:
        """The share of pictures that are classified right."""
        return (Metric("accuracy", "%", True),)

    def prepare(self) -> dict[str, str]:
        """Nothing: pictures are drawn when they are needed."""
        return {}

    def build(self, encoding: PositionEncoding, seed: int) -> VisionModel:
        """The model for the classes of the question."""
        rows, columns = (size * self._side for size in self.options.extent)
        classes = QUESTIONS[self.options.question].classes
        return VisionModel(self.model, (rows, columns), classes, encoding, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Pictures of the trained extent."""
        return self._drawn(size, self.options.extent, generator(seed, "batch", split, step))

    def weight(self, batch: Batch) -> float:
        """Pictures."""
        return float(len(batch["images"]))

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum of the cross-entropies."""
        return F.cross_entropy(model(batch["images"], table).float(), batch["labels"], reduction="sum")

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """The most likely class of the same pictures for all encodings and seeds."""
        assert isinstance(model, VisionModel)
        device = next(model.parameters()).device
        table = tabulate(model.encoding, grid(reach.extent), reach, device)
        count = self.options.pictures
        drawn = self._drawn(count, reach.extent, generator(0, "evaluation", *reach.extent))
        right, nan = [], False
        for part in torch.arange(count).split(max(1, PATCHES_AT_ONCE // math.prod(reach.extent))):
            logits = model(drawn["images"][part].to(device), table).float()
            nan |= bool(logits.isnan().any())
            right += (logits.argmax(-1).cpu() == drawn["labels"][part]).int().tolist()
        if nan:
            return Evaluation({"accuracy": math.nan}, count)
        examples = Examples(
            ratios=(Ratio(metric="accuracy", over="right"),),
            columns={"right": tuple(right)},
            counts={"images": count},
        )
        return Evaluation(examples.scores(), count, (examples,))

    @property
    def _side(self) -> int:
        side, _ = self.model.outline().patch
        return side

    def _drawn(self, count: int, extent: tuple[int, ...], draws: torch.Generator) -> Batch:
        images, labels = draw_pictures(self.options.question, count, extent, self._side, draws)
        return {"images": images, "labels": labels}
