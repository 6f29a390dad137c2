"""The vision Transformer on clips: a patch reaches over frames as well as rows and columns."""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.models.vision import VisionModel, VisionOptions
from pebench.position_encoding import PositionEncoding
from pebench.randomness import derive


class VideoOptions(VisionOptions):
    """Options of the model: all of one for pictures, and this.

    Attributes:
        frames: that a patch reaches over.
    """

    frames: Annotated[int, Field(ge=1)] = 1

    def sides(self) -> tuple[int, int, int]:
        """Frames, rows and columns of a patch."""
        return (self.frames, *self.outline().patch)


class PatchEmbedding(nn.Module):
    """A vector for each patch of a clip."""

    def __init__(self, sides: tuple[int, int, int], width: int) -> None:
        """
        Args:
            sides: frames, rows and columns of a patch.
            width: of the vectors.
        """
        super().__init__()
        self.projection = nn.Conv3d(1, width, kernel_size=sides, stride=sides)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, T, R, C) to (B, frames, rows, columns, D), counted in patches."""
        embedded: Tensor = self.projection(clips[:, None])
        return embedded.movedim(1, -1).contiguous()


class VideoModel(VisionModel):
    """A classifier of (B, T, R, C) clips around a position encoding: the Transformer of `VisionModel` behind
    a patch embedding of its own."""

    def __init__(
        self,
        options: VideoOptions,
        extent: tuple[int, int, int],
        classes: int,
        encoding: PositionEncoding,
        seed: int,
    ) -> None:
        """
        Args:
            options: of the model.
            extent: frames, rows and columns of a training clip.
            classes: there are.
            encoding: the encoding, already initialised.
            seed: decides every weight that is not the encoding's, whatever the encoding is.
        """
        super().__init__(options, extent[1:], classes, encoding, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "patches"))
            patches = PatchEmbedding(options.sides(), options.outline().width)
        self.transformer.patch_embed = cast("Any", patches)
