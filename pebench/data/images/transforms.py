"""From pictures to a batch: timm's transforms, with every random number a function of names."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.randomness import derive, seed_device
from pebench.specification.run_spec import Frozen

if TYPE_CHECKING:
    from PIL.Image import Image

# Before anything of timm's, here and in processes that are handed a transform made elsewhere.
declare_missing()

Changed = Any
"""Picture that was changed by itself: `Image`, or (3, rows, columns) float32."""


@dataclass(frozen=True)
class Transform:
    """What timm does to pictures, in two parts: a batch of small pictures is normalised in a sixth of the
    time that its pictures take one by one, and comes out the same.

    Attributes:
        steps: of each picture; it is then a picture still, or a tensor that is normalised already.
        mean: (3,) of the channels, which a batch is normalised with; None where its pictures are.
        std: (3,) of the channels.
    """

    steps: tuple[Callable[[Any], Any], ...]
    mean: Tensor | None
    std: Tensor | None

    @classmethod
    def of(cls, whole: Any) -> Transform:
        """
        Args:
            whole: a `Compose` of timm's, from a picture to (3, rows, columns) float32, normalised.
        """
        from torchvision.transforms import ColorJitter, Normalize

        steps = [
            _AsDrawn() if isinstance(one, ColorJitter) and _is_idle(one) else one for one in whole.transforms
        ]
        last = steps[-1]
        if not isinstance(last, Normalize):
            # Rectangles are erased from what is normalised.
            return cls(tuple(steps), None, None)
        mean, std = (torch.as_tensor(values).view(3, 1, 1) for values in (last.mean, last.std))
        return cls(tuple(steps[:-2]), mean, std)

    def change(self, picture: Image) -> Changed:
        """A picture after the steps that are its own."""
        changed: Changed = picture
        for step in self.steps:
            changed = step(changed)
        return changed

    def batch(self, changed: Sequence[Changed]) -> Tensor:
        """(B, 3, rows, columns) float32, normalised."""
        if self.mean is None or self.std is None:
            return torch.stack(list(changed))
        pixels = torch.from_numpy(np.stack([np.asarray(one) for one in changed]))
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(self.mean).div_(self.std)


class _AsDrawn:
    """A jitter of nothing, without the work: it draws the order of its four changes, as torchvision's does,
    so that what is drawn after it stays."""

    def __call__(self, picture: Image) -> Image:
        torch.randperm(4)
        return picture


def _is_idle(jitter: Any) -> bool:
    return all(getattr(jitter, name) is None for name in ("brightness", "contrast", "saturation", "hue"))


Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Frozen):
    """How a training picture is changed at random, in timm's terms.

    Attributes:
        scale: share of the picture's area that a random crop takes, from and to.
        ratio: of the crop's width to its height, from and to.
        flip: probability of a mirror image.
        jitter: of brightness, contrast and saturation; timm leaves it out beside most policies.
        policy: such as ``rand-m9-mstd0.5-inc1`` (RandAugment) or ``3a`` (three kinds, as in DeiT III).
        erasing: probability of erasing a rectangle.
    """

    scale: tuple[Share, Share] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Share = 0.5
    jitter: Annotated[float, Field(ge=0)] = 0.0
    policy: Annotated[str, Field(pattern=r"^(rand|augmix|3a|original|v0)")] | None = None
    erasing: Share = 0.0


def training_transform(size: tuple[int, int], augmentation: Augmentation) -> Transform:
    """Draws from the global random state, which `drawing` sets.

    Args:
        size: rows and columns. augmentation: what is done.

    Raises:
        UserError: timm does not understand the policy, or cannot carry it out.
    """
    from timm.data import create_transform

    if (augmentation.policy or "").startswith("v0"):
        raise UserError(
            f"timm's policy '{augmentation.policy}' asks Pillow for pictures of no bits, which it refuses: "
            "take 'original', or RandAugment as 'rand-m9-mstd0.5-inc1'."
        )
    try:
        transform = create_transform(
            (3, *size),
            is_training=True,
            scale=augmentation.scale,
            ratio=augmentation.ratio,
            hflip=augmentation.flip,
            color_jitter=augmentation.jitter,
            auto_augment=augmentation.policy,
            interpolation="bicubic",
            re_prob=augmentation.erasing,
            re_mode="pixel",
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise UserError(f"timm does not understand the policy '{augmentation.policy}' ({error}).") from error
    return Transform.of(transform)


def plain_transform(size: tuple[int, int], crop: float) -> Transform:
    """Resizes bicubically to size ÷ crop and cuts the centre out.

    Args:
        size: rows and columns. crop: share of the side that is kept.
    """
    from timm.data import create_transform

    return Transform.of(create_transform((3, *size), crop_pct=crop, interpolation="bicubic"))


Draw = Callable[..., None]
"""Called with a seed and names, it makes them decide what is drawn from global random states from then on."""


@contextlib.contextmanager
def drawing() -> Iterator[Draw]:
    """Lends the global random states out, and sets them back behind itself."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def draw(seed: int, *names: object) -> None:
        own = derive(seed, *names)
        random.seed(own)
        np.random.seed(own % 2**32)
        seed_device(own, torch.device("cpu"))

    try:
        yield draw
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
