"""From a picture to a tensor: timm's transforms, with every random number a function of names."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pebench.errors import UserError
from pebench.randomness import derive, seed_device
from pebench.spec import Frozen
from pebench.torchvision_operators import declare_missing

if TYPE_CHECKING:
    from PIL.Image import Image

# Before anything of timm's, here and in processes that are handed a transform made elsewhere.
declare_missing()

Transform = Callable[["Image"], Tensor]
"""From a picture to (3, rows, columns) float32, normalised."""

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
        UserError: timm does not understand the policy.
    """
    from timm.data import create_transform

    try:
        transform: Transform = create_transform(
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
    return transform


def plain_transform(size: tuple[int, int], crop: float) -> Transform:
    """Resizes bicubically to size ÷ crop and cuts the centre out.

    Args:
        size: rows and columns. crop: share of the side that is kept.
    """
    from timm.data import create_transform

    transform: Transform = create_transform((3, *size), crop_pct=crop, interpolation="bicubic")
    return transform


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
