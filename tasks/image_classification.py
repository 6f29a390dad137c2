"""Image classification: timm's vision Transformer at resolutions that it was never trained on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from pebench import atomic
from pebench.data.drawn import Choice, drawn, where_limited
from pebench.data.images.batches import Recipe, TrainingBatches, evaluation_batches
from pebench.data.images.mixing import Mixing
from pebench.data.images.pictures import BadImages, Item, Pictures
from pebench.data.images.soundness import sift
from pebench.data.images.source import ImageSource, find_pictures
from pebench.data.images.transforms import Augmentation, plain_transform, training_transform
from pebench.data.left_out import noted
from pebench.data.needed import Needed
from pebench.errors import UserError
from pebench.models.vision import VisionModel, VisionOptions
from pebench.position_encoding import Extrapolation, PositionEncoding, Table, grid, tabulate
from pebench.specification.options import Added
from pebench.specification.run_spec import Extrapolations, Frozen, Once
from pebench.store.example_scores import Examples, Ratio
from pebench.store.task_record import EvaluationData
from pebench.task import Batch, Evaluation, Metric
from pebench.task_bases.vision_task import VisionTask

TOKENS_AT_ONCE = 16_384
"""Patches in a batch of evaluation, whatever the resolution: memory is bounded."""

CROP = 224 / 256
"""Share of the side that evaluation keeps by default; metrics name any other."""


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


MOST_PIXELS = 1 << 14
"""Of a side: such a picture takes 3 GiB in float32, and in patches of 16 pixels a million tokens."""

Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
Pixels = Annotated[tuple[Side, Side], BeforeValidator(_square)]
"""Rows and columns; one number means a square."""


class ImageClassificationOptions(Frozen):
    """Options of the task.

    Attributes:
        data: `digits`, a folder of class folders, or a dataset; see `pebench.data.images.source`.
        extent: pixels of a training image, one number or rows and columns.
        evaluate: extents to evaluate at, in pixels; by default the trained one and 1.5, 2 and 3 times it.
        split: what is evaluated on.
        crop: evaluation resizes to the extent divided by this and cuts out the centre; by default 1 for the
            digits, which fill their pictures, and 224/256 for all others.
        augment: random changes of training pictures; null for none.
        mix: mixup and cutmix.
        repeats: how often a picture stands in a batch, augmented anew each time.
        loss: cross-entropy, or a binary decision a class, where mixed targets count as one each (Touvron et
            al. 2022, DeiT III).
        smoothing: of the targets.
        bad_images: whether pictures that cannot be read are refused, or named, counted and passed over.
        images: how many pictures of the split to evaluate on; by default all.
        choice: which pictures these are: drawn from all of the split, once for all runs; or the first of it,
            as in runs from before there was the choice.
        extrapolations: ways past the trained extent to measure, of those that an encoding offers; by default
            the one that the encoding prefers.
    """

    data: ImageSource = Field(default_factory=lambda: ImageSource.model_validate("digits"))
    extent: Pixels = (16, 16)
    evaluate: Annotated[tuple[Pixels, ...], Once] = ()
    split: Literal["train", "validation", "test"] = "validation"
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    augment: Augmentation | None = None
    mix: Mixing = Mixing()
    repeats: Annotated[int, Field(ge=1)] = 1
    loss: Literal["cross-entropy", "binary"] = "cross-entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bad_images: BadImages = "refuse"
    images: Annotated[int, Field(ge=1)] | None = None
    choice: Annotated[Choice, Added(before="beginning")] = "spread"
    extrapolations: Extrapolations = None

    _settled = model_validator(mode="before")(where_limited("images"))

    @property
    def share(self) -> float:
        """Of the side that evaluation keeps."""
        return self.crop or (1.0 if self.data.name == "digits" else CROP)


class ImageClassification(VisionTask[ImageClassificationOptions, VisionOptions]):
    """A vision Transformer whose tokens stand at the rows and columns of patches.

    `lookhere` must read scanned digits at the trained size, as in ``images-quickstart``, and `none` must not,
    to which the patches of a digit stand in any order; about half of the digits they tell all the same.
    """

    axes = 2
    causal = False
    item = "images"
    extent_unit = "pixels"
    Options = ImageClassificationOptions
    Model = VisionOptions

    def __init__(self, options: ImageClassificationOptions, model: VisionOptions) -> None:
        super().__init__(options, model)
        self._classes: list[str] = []
        self._pictures: dict[str, Pictures] = {}
        self._training: TrainingBatches | None = None
        self._chosen: list[Item] | None = None

    def extents(self) -> list[tuple[int, ...]]:
        """The sizes to evaluate at, in pixels."""
        return list(self.options.evaluate or self._usual())

    def evaluation_data(self) -> EvaluationData:
        """The pictures of its options, and the crop, which papers seldom name."""
        source, split, share = self.options.data, self.options.split, self.options.share
        return EvaluationData(
            names=source.known_as,
            paths=source.read_from(split),
            split=split,
            whole=self.options.images is None,
            model=self.model.name or "",
            suffix=self._metric(1).removeprefix("top-1"),
            unsaid=f"crop; ours is {'224/256' if share == CROP else f'{share:g}'}",
        )

    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy of the first and of the first five guesses."""
        return tuple(Metric(self._metric(guesses), "%", True) for guesses in (1, 5))

    def needed(self) -> tuple[Needed, ...]:
        """The pictures, and the columns of a set."""
        splits = ("train", self.options.split) if self.trains else (self.options.split,)
        at = {"source": self.options.data.model_dump(mode="json"), "splits": splits}
        return (Needed(look="pebench.data.images.source:check_pictures", at=at),)

    def prepare(self) -> dict[str, str]:
        """Finds the pictures, and opens each once to see that it can be read.

        Raises:
            UserError: they are not there, cannot be read, or were trained on.
        """
        options = self.options
        corpus = find_pictures(options.data)
        if self.trains:
            corpus.require_unseen(options.split)
        self._classes = list(corpus.classes)
        found: dict[str, str] = {}
        for split in dict.fromkeys(("train", options.split)):
            self._pictures[split], notes = sift(corpus.split(split), split, options.bad_images)
            found |= notes
        found |= noted(corpus.left_out)
        augment = options.augment
        recipe = Recipe(
            pictures=self._pictures["train"],
            transform=plain_transform(options.extent, options.share)
            if augment is None
            else training_transform(options.extent, augment),
            random=augment is not None,
            mixing=options.mix,
            classes=len(self._classes),
            smoothing=options.smoothing,
            bad_images=options.bad_images,
        )
        self._training = TrainingBatches(recipe, options.repeats)
        return found

    def keep(self, folder: Path) -> None:
        """Writes the names of the classes."""
        atomic.write_json(folder / "classes.json", self._classes)

    def restore(self, folder: Path) -> dict[str, str]:
        """Reads the names of the classes.

        Raises:
            UserError: they are not there.
        """
        try:
            self._classes = json.loads((folder / "classes.json").read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / 'classes.json'} cannot be read: {error}.") from error
        return {}

    def build(self, encoding: PositionEncoding, seed: int) -> VisionModel:
        """The model for the classes that there are."""
        assert self._classes, "prepare() comes first"
        return VisionModel(self.model, self.options.extent, len(self._classes), encoding, seed)

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """Images, labels, and targets where images are mixed; see `pebench.data.images.batches`."""
        assert self._training is not None, "prepare() comes first"
        assert split == "train", "only training draws batches"
        if self.options.mix.mixes and size % 2:
            raise UserError(f"images are mixed in pairs, so a batch of {size} must be even.")
        return self._training.batch(seed, split, step, size)

    def weight(self, batch: Batch) -> float:
        """Images."""
        return float(len(batch["images"]))

    def loss(self, model: nn.Module, batch: Batch, table: Table) -> Tensor:
        """Sum over the images."""
        logits = model(batch["images"], table).float()
        targets, smoothing = batch.get("targets"), self.options.smoothing
        if self.options.loss == "cross-entropy":
            if targets is not None:
                return F.cross_entropy(logits, targets, reduction="sum")
            return F.cross_entropy(logits, batch["labels"], reduction="sum", label_smoothing=smoothing)
        if targets is None:
            targets = F.one_hot(batch["labels"], logits.shape[-1]).float()
            targets = targets * (1 - smoothing) + smoothing / logits.shape[-1]
        else:
            targets = (targets > 0).float()
        each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return each.mean(-1).sum()

    def evaluate(self, model: nn.Module, reach: Extrapolation) -> Evaluation:
        """Accuracies at one resolution."""
        assert isinstance(model, VisionModel)
        assert self._pictures, "prepare() comes first"
        device = next(model.parameters()).device
        rows, columns = reach.extent
        recipe = Recipe(
            self._pictures[self.options.split],
            plain_transform((rows, columns), self.options.share),
            bad_images=self.options.bad_images,
        )
        served = reach._replace(extent=self.positions(reach.extent))
        size = max(1, TOKENS_AT_ONCE // math.prod(served.extent))
        table = tabulate(model.encoding, grid(served.extent), served, device)
        right, nan = [torch.zeros(2, 0, dtype=torch.bool)], False
        for batch in evaluation_batches(recipe, size, self._evaluated()):
            logits = model(batch["images"].to(device), table).float()
            nan |= bool(logits.isnan().any())
            guesses = logits.topk(min(5, logits.shape[-1])).indices.cpu() == batch["labels"][:, None]
            right.append(torch.stack((guesses[:, 0], guesses.any(1))))
        first, five = torch.cat(right, 1).int().tolist()
        if not first:
            raise UserError(f"split '{self.options.split}' holds no pictures.")
        if nan:
            return Evaluation({self._metric(guesses): math.nan for guesses in (1, 5)}, len(first))
        examples = Examples(
            ratios=(Ratio(metric=self._metric(1), over="first"), Ratio(metric=self._metric(5), over="five")),
            columns={"first": tuple(first), "five": tuple(five)},
            counts={"images": len(first)},
        )
        return Evaluation(examples.scores(), len(first), (examples,))

    def _evaluated(self) -> Iterable[Item]:
        """The pictures to evaluate on, in the order of the split."""
        items, count = self._pictures[self.options.split].evaluated(), self.options.images
        if count is None or self.options.choice == "beginning":
            return itertools.islice(items, count)
        if self._chosen is None:
            self._chosen = drawn(items, count, self.options.split)
        return self._chosen

    def _metric(self, guesses: int) -> str:
        share = self.options.share
        return f"top-{guesses}" if share == CROP else f"top-{guesses}-crop-{share:g}"

    def _usual(self) -> list[tuple[int, ...]]:
        """The trained extent and larger ones, to whole patches, each once."""
        patch = self.model.outline().patch
        rows, columns = (
            [round(size * times / side) * side for times in (1, 1.5, 2, 3)]
            for size, side in zip(self.options.extent, patch, strict=True)
        )
        return list(dict.fromkeys(zip(rows, columns, strict=True)))
