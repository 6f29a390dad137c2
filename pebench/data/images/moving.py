"""Scanned digits that move across the frames of a clip, one pixel or more a frame, all alike.

Shapes: B clips, T frames of R × C pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pebench.data.images.digits import Digits

SIDE = 8
"""Pixels of a digit, along either side."""

HEADINGS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
"""Where a digit may move to; north is up."""

STEPS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Rows and columns that each heading goes on for."""


def room(extent: Sequence[int], speed: int) -> tuple[int, int]:
    """How many rows and columns the place of a moving digit may vary by; negative where it would leave the
    frame.

    Args:
        extent: (T, R, C).
        speed: pixels a frame.
    """
    frames, rows, columns = extent
    way = SIDE + speed * (frames - 1)
    return rows - way, columns - way


def draw_moves(
    count: int, extent: Sequence[int], speed: int, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Headings and ways of so many clips.

    Args:
        count: B.
        extent: (T, R, C).
        speed: pixels a frame.
        draws: where they are drawn from.

    Returns:
        (B,) numbers of headings, and (B, T, 2) the row and column of the digit's first pixel in each frame,
        every way inside the frame as likely as any other.
    """
    headings = torch.randint(len(HEADINGS), (count,), generator=draws)
    steps = torch.tensor(STEPS)[headings][:, None] * speed
    ways = steps * torch.arange(extent[0])[:, None]
    ways = ways - ways.amin(1, keepdim=True)
    free = torch.tensor(extent[1:]) - SIDE - ways.amax(1) + 1
    starts = (torch.rand(count, 2, generator=draws, dtype=torch.float64) * free).long()
    return headings, ways + starts[:, None]


def render(pixels: Tensor, places: Tensor, extent: Sequence[int]) -> Tensor:
    """(B, T, R, C) clips from −1, black, to 1.

    Args:
        pixels: (B, 8, 8) uint8 digits.
        places: (B, T, 2) of their first pixels.
        extent: (T, R, C).
    """
    within = torch.arange(SIDE)
    clip, frame = torch.arange(len(pixels))[:, None, None, None], torch.arange(extent[0])[:, None, None]
    row = places[..., 0, None, None] + within[:, None]
    column = places[..., 1, None, None] + within
    clips = torch.full((len(pixels), *extent), -1.0)
    clips[clip, frame, row, column] = (pixels / 127.5 - 1)[:, None].expand(-1, extent[0], -1, -1)
    return clips


def moving_digits(split: str) -> tuple[Tensor, Tensor]:
    """(count, 8, 8) uint8 pixels and (count,) classes of a split's digits."""
    return Digits(split).arrays()
