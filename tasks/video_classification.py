"""Video classification: which digit moves across the frames, and where to, at any length and size."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pebench.data.cache import digest
from pebench.data.images.moving import HEADINGS, draw_moves, moving_digits, render, room
from pebench.models.video import VideoModel, VideoOptions
from pebench.position_encoding import Extrapolation, PositionEncoding, Table, grid, tabulate
from pebench.randomness import generator
from pebench.specification.run_spec import Extrapolations, Frozen, Once
from pebench.store.example_scores import Examples, Ratio
from pebench.task import MOST, Batch, Evaluation, Metric
from pebench.task_bases.vision_task import VisionTask

TOKENS_AT_ONCE = 16_384
"""Patches in a batch of evaluation, whatever the extent: memory is bounded."""

DIGITS = 10

Size = Annotated[int, Field(ge=1)]
Extent = tuple[Size, Size, Size]


class VideoClassificationOptions(Frozen):
    """Options of the task.

    Attributes:
        extent: frames, rows and columns of a training clip.
        evaluate: extents to evaluate at; by default the trained one, twice the frames, 1.5 times the rows and
            columns, and all of them.
        speed: pixels that a digit moves from frame to frame.
        split: whose digits move in the evaluation.
        clips: to evaluate on, the same for every encoding and seed.
        extrapolations: ways past the trained extent to measure, of those that an encoding offers; by default
            the one that the encoding prefers.
    """

    extent: Extent = (4, 16, 16)
    evaluate: Annotated[tuple[Extent, ...], Once] = ()
    speed: Size = 1
    split: Literal["train", "validation", "test"] = "validation"
    clips: Annotated[int, Field(ge=1, le=MOST)] = 540
    extrapolations: Extrapolations = None

    @property
    def extents(self) -> tuple[Extent, ...]:
        """The extents to evaluate at."""
        frames, rows, columns = self.extent
        wide = rows * 3 // 2, columns * 3 // 2
        usual: tuple[Extent, ...] = (
            self.extent,
            (2 * frames, rows, columns),
            (frames, *wide),
            (2 * frames, *wide),
        )
        return self.evaluate or usual

    @model_validator(mode="after")
    def _fits(self) -> VideoClassificationOptions:
        for extent in (self.extent, *self.extents):
            if min(room(extent, self.speed)) < 0:
                raise ValueError(
                    f"a digit at speed {self.speed} leaves the frame within an extent of "
                    f"{'×'.join(map(str, extent))}"
                )
        return self


class VideoClassification(VisionTask[VideoClassificationOptions, VideoOptions]):
    """A vision Transformer whose tokens stand at the frames, rows and columns of patches.

    A way there and the way back show the same patches, so that `none` must not name more than half of the
    headings. `rope-mixed` must name more at the trained extent, as in ``moving-digits-small``.
    """

    axes = 3
    causal = False
    item = "clips"
    extent_unit = "frames × pixels"
    Options = VideoClassificationOptions
    Model = VideoOptions

    def __init__(self, options: VideoClassificationOptions, model: VideoOptions) -> None:
        super().__init__(options, model)
        self._digits: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def sides(self) -> tuple[int, ...]:
        """Frames, rows and columns of a patch."""
        return self.model.sides()

    def extents(self) -> list[tuple[int, ...]]:
        """The extents to evaluate at, in frames and pixels."""
        return list(self.options.extents)

    def metrics(self) -> tuple[Metric, ...]:
        """The share of clips in which digit and heading were found, and of each alone."""
        return tuple(Metric(name, "%", True) for name in ("accuracy", "accuracy-digit", "accuracy-heading"))

    def prepare(self) -> dict[str, str]:
        """Reads the digits."""
        found: dict[str, str] = {}
        for split in dict.fromkeys(("train", self.options.split)):
            pixels, labels = self._digits[split] = moving_digits(split)
            found[split] = digest([pixels.tolist(), labels.tolist()])
        return found

    def build(self, encoding: PositionEncoding, seed: int) -> VideoModel:
        """The model, which scores digits and headings side by side."""
        return VideoModel(self.model, self.options.extent, DIGITS + len(HEADINGS), encoding, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Clips, digits and headings."""
        assert self._digits, "prepare() comes first"
        draws = generator(seed, "clips", split, step)
        chosen = torch.randint(len(self._digits[split][1]), (size,), generator=draws)
        return self._clips(split, chosen, self.options.extent, draws)

    def weight(self, batch: Batch) -> float:
        """Clips."""
        return float(len(batch["clips"]))

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum over the clips of the cross-entropies of digit and heading."""
        digits, headings = _split(model(batch["clips"], table))
        return F.cross_entropy(digits, batch["digits"], reduction="sum") + F.cross_entropy(
            headings, batch["headings"], reduction="sum"
        )

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Accuracies at one extent."""
        assert isinstance(model, VideoModel)
        assert self._digits, "prepare() comes first"
        split, count, device = self.options.split, self.options.clips, next(model.parameters()).device
        served = reach._replace(extent=self.positions(reach.extent))
        table = tabulate(model.encoding, grid(served.extent), served, device)
        chosen = torch.arange(count) % len(self._digits[split][1])
        clips = self._clips(split, chosen, reach.extent, generator(0, "clips", split, *reach.extent))
        right, nan = [], False
        for part in torch.arange(count).split(max(1, TOKENS_AT_ONCE // math.prod(served.extent))):
            scores = _split(model(clips["clips"][part].to(device), table))
            nan |= any(bool(found.isnan().any()) for found in scores)
            guesses = [found.argmax(-1).cpu() for found in scores]
            digit, heading = (
                guess == clips[name][part]
                for guess, name in zip(guesses, ("digits", "headings"), strict=True)
            )
            right.append(torch.stack([digit & heading, digit, heading]))
        names = [metric.name for metric in self.metrics()]
        if nan:
            return Evaluation(dict.fromkeys(names, math.nan), count)
        examples = Examples(
            ratios=tuple(Ratio(metric=name, over=name) for name in names),
            columns={
                name: tuple(column)
                for name, column in zip(names, torch.cat(right, 1).int().tolist(), strict=True)
            },
            counts={"clips": count},
        )
        return Evaluation(examples.scores(), count, (examples,))

    def _clips(self, split: str, chosen: Tensor, extent: tuple[int, ...], draws: torch.Generator) -> Batch:
        pixels, labels = self._digits[split]
        headings, places = draw_moves(len(chosen), extent, self.options.speed, draws)
        return {
            "clips": render(pixels[chosen], places, extent),
            "digits": labels[chosen],
            "headings": headings,
        }


def _split(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the digit and of the heading."""
    digits, headings = scores.float().split((DIGITS, len(HEADINGS)), dim=-1)
    return digits, headings
