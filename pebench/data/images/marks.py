"""Drawn pictures that ask where things are: the patches of each, in any order, say nothing about its class.

Shapes: B pictures of R × C fields, each a square of S pixels, from −1, dark, to 1, bright.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

MARKS = 4
"""Bright fields of a picture whose bright fields are counted."""

ORDERS = tuple(permutations(range(4)))
"""Orders of the four quarters of a picture."""

_NOISE = 0.1


class Question(NamedTuple):
    """A kind of picture.

    Attributes:
        classes: how many there are, each as likely as any other.
        draw: (B, R, C, S, S) pixels and (B,) classes of so many pictures, of (R, C) fields of so many pixels.
        even: whether R and C must be even.
    """

    classes: int
    draw: Callable[[int, Sequence[int], int, torch.Generator], tuple[Tensor, Tensor]]
    even: bool = False


def draw_pictures(
    question: str, count: int, fields: Sequence[int], side: int, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures and their classes.

    Args:
        question: of `QUESTIONS`. count: B. fields: (R, C). side: S. draws: where they are drawn from.

    Returns:
        (B, 3, R·S, C·S) pixels, grey and with a little noise, and (B,) classes.
    """
    pixels, classes = QUESTIONS[question].draw(count, fields, side, draws)
    pixels = pixels + _NOISE * torch.randn(pixels.shape, generator=draws)
    rows, columns = (size * side for size in fields)
    pictures = pixels.transpose(2, 3).reshape(count, 1, rows, columns)
    return pictures.expand(-1, 3, -1, -1), classes


def _relation(count: int, fields: Sequence[int], side: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """A bright field and a dark one, in no common row or column: is the bright one above, is it left?"""
    places = torch.stack([torch.rand(count, size, generator=draws).topk(2).indices for size in fields])
    grey = torch.zeros(count, *fields)
    picture = torch.arange(count)
    for number, brightness in enumerate((1.0, -1.0)):
        grey[picture, places[0, :, number], places[1, :, number]] = brightness
    above, left = (places[..., 0] < places[..., 1]).long()
    return _filled(grey, side), 2 * above + left


def _count(count: int, fields: Sequence[int], side: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bright fields and a dark one: how many are left of it?"""
    rows, columns = fields
    least = math.ceil(MARKS / rows)
    middle = torch.randint(least, columns - least, (count, 1, 1), generator=draws)
    left = torch.randint(MARKS + 1, (count,), generator=draws)
    column = torch.arange(columns).expand(count, rows, columns)
    order = torch.rand(count, rows, columns, generator=draws)
    grey = torch.zeros(count, rows, columns)
    for among, wanted in ((column < middle, left), (column > middle, MARKS - left)):
        ranks = order.where(among, 2.0).flatten(1).argsort().argsort().view_as(order)
        grey[among & (ranks < wanted[:, None, None])] = 1.0
    dark = torch.randint(rows, (count,), generator=draws)
    grey[torch.arange(count), dark, middle.flatten()] = -1.0
    return _filled(grey, side), left


def _jigsaw(count: int, fields: Sequence[int], side: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """A bright disc whose quarters change places: in which order do they stand?"""
    rows, columns = (size * side for size in fields)
    centre = 0.1 * (torch.rand(2, count, 1, generator=draws) - 0.5)
    radius = 0.25 + 0.2 * torch.rand(count, 1, 1, generator=draws)
    down, right = ((torch.arange(size) + 0.5) / size - 0.5 for size in (rows, columns))
    apart = ((down - centre[0])[:, :, None].square() + (right - centre[1])[:, None].square()).sqrt()
    disc = (2 * torch.sigmoid((radius - apart) * 40) - 1).view(count, 2, rows // 2, 2, columns // 2)
    quarters = disc.permute(0, 1, 3, 2, 4).flatten(1, 2)
    orders = torch.randint(len(ORDERS), (count,), generator=draws)
    moved = quarters[torch.arange(count)[:, None], torch.tensor(ORDERS)[orders]]
    whole = moved.unflatten(1, (2, 2)).permute(0, 1, 3, 2, 4).reshape(count, rows, columns)
    return whole.view(count, fields[0], side, fields[1], side).transpose(2, 3), orders


def _filled(grey: Tensor, side: int) -> Tensor:
    """(B, R, C, S, S) of (B, R, C) fields of one brightness each."""
    return grey[..., None, None].expand(*grey.shape, side, side)


QUESTIONS = {
    "relation": Question(4, _relation),
    "jigsaw": Question(len(ORDERS), _jigsaw, even=True),
    "count": Question(MARKS + 1, _count),
}
"""Every kind, by name."""
