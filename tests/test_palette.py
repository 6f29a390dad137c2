"""The colours of lines are told apart by those who do not see red or green, on white and on black."""

from __future__ import annotations

from itertools import combinations

import numpy
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from pebench.leaderboard.plots.style import COLOURS
from pebench.portrait.drawing import COLOURS as HEADS

Array = NDArray[numpy.float64]

# Machado, Oliveira & Fernandes (2009), "A physiologically-based model for simulation of color vision
# deficiency", severity 1.0, for linear RGB.
SIGHT = {
    "all colours": numpy.eye(3),
    "without red": numpy.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "without green": numpy.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}

LEAST = 30.0
"""Of the differences ΔE*ab of two colours. One that is just noticed is 2.3."""


def linear(colour: str) -> Array:
    """Linear RGB of a colour in sRGB."""
    values = numpy.array(to_rgb(colour))
    return numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Array) -> Array:
    """CIE L*a*b* of linear RGB, white D65."""
    to_xyz = numpy.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x, y, z = numpy.cbrt(to_xyz @ rgb / (to_xyz @ numpy.ones(3)))
    return numpy.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def least_difference(colours: tuple[str, ...], sight: Array) -> float:
    """The smallest difference between two of the colours, as this sight sees them."""
    seen = [lab(numpy.clip(sight @ linear(colour), 0.0, 1.0)) for colour in colours]
    return float(min(numpy.linalg.norm(one - other) for one, other in combinations(seen, 2)))


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("ink", ["black", "#e6e8eb"])
def test_colours_are_told_apart(sight: str, ink: str) -> None:
    shown = tuple(ink if colour == "black" else colour for colour in COLOURS)
    assert least_difference(shown, SIGHT[sight]) > LEAST


@pytest.mark.parametrize("sight", SIGHT)
def test_the_heads_of_the_gallery_are_told_apart(sight: str) -> None:
    assert least_difference(HEADS, SIGHT[sight]) > LEAST


def test_the_measure_finds_colours_that_are_not() -> None:
    red_and_green = ("#d55e00", "#009e73", "#cc79a7", "#e69f00")
    assert least_difference(red_and_green, SIGHT["all colours"]) > LEAST
    assert least_difference(red_and_green, SIGHT["without green"]) < LEAST


@pytest.mark.parametrize(("paper", "least"), [("white", 1.9), ("#16181b", 2.5)])
def test_colours_stand_out_from_the_page(paper: str, least: float) -> None:
    def luminance(colour: str) -> float:
        return float(numpy.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) + 0.05

    for colour in COLOURS[:-1]:
        light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert light / dark > least, colour
