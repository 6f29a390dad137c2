"""How much the rotary encodings lose at large positions is what docs/encodings.md says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, Geometry, layer_inputs, tabulate

PAGE = (Path(__file__).parents[1] / "docs" / "encodings.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (`[\w-]+`(?:, `[\w-]+`)*) +" + r"\| +([\d.e-]+|–) " * 4 + r"\|$",
    PAGE.split("## Large positions")[1].split("\n## ")[0],
    re.MULTILINE,
)
PLACES = (511, 4_095, 16_383, 131_071)
TRAINED, WIDTH = 64, 64

Angles = Callable[[Any, float], Tensor]
"""The exact angles of the pairs of a head, float64, with all coordinates at one place."""


def _geometric(base: float, pairs: int) -> Tensor:
    return base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)


EXACT: dict[str, Angles] = {
    "rope": lambda encoding, place: place * _geometric(1e4, 32),
    "xpos": lambda encoding, place: place * _geometric(1e4, 32),
    "rope-axial": lambda encoding, place: place * _geometric(100.0, 16).repeat(2),
    "rope-mixed": lambda encoding, place: place * encoding.frequencies[:, 0, 0].double().sum(0),
    "m-rope": lambda encoding, place: place * _geometric(1e6, 32),
    "golden-gate": lambda encoding, place: 2 * place / TRAINED * encoding.waves[0].sum(-1),
    "pope": lambda encoding, place: place * _geometric(1e4, 64),
    "repo": lambda encoding, place: place * _geometric(1e4, 32),
    "grape-m": lambda encoding, place: -place * (encoding.log_frequencies[0, 0].double() / 16).exp(),
    "string": lambda encoding, place: place * _geometric(1e4, 32),
    "liere": lambda encoding, place: place / (TRAINED - 1) * encoding.entries[0, 0, 0, :, 0].double(),
    "comrope": lambda encoding, place: _commuting(encoding, (place + 0.5) / TRAINED),
}


def _commuting(encoding: Any, place: float) -> Tensor:
    matrices = encoding.matrices[0, 0].double()
    turned: Tensor = place * encoding.multipliers[0, 0].double() * (matrices - matrices.mT)[:, 1, 0]
    return turned


@torch.no_grad()
def deviation(name: str, place: int) -> float:
    """The largest error in the channels of a pair (1, 0) that is turned at a place."""
    axes = encodings.load(name).axes[0]
    # Of three layers the first is RoPE in RePo, too.
    geometry = Geometry(WIDTH, 1, 3, (TRAINED,) * axes, causal=axes == 1)
    options = {"block": 2} if name in ("liere", "comrope") else {}
    encoding = build_encoding(name, options, geometry)
    at = Extrapolation((place + 1,) * axes, "extend")
    q = torch.tensor([1.0, 0.0]).repeat(WIDTH // 2).view(1, 1, 1, WIDTH)
    table = tabulate(encoding, torch.full((1, 1, axes), place), at)
    turned, _ = encoding.rotate(layer_inputs(encoding, q, q, q[0], table))
    # What scales a pair, as xPos does, is no loss of its angle.
    found = torch.nn.functional.normalize(turned.double().unflatten(-1, (-1, 2)), dim=-1)
    angles = EXACT[name](encoding, place)
    return float((found - torch.stack((angles.cos(), angles.sin()), dim=-1)).abs().max())


def test_the_table_holds_every_encoding_that_goes_on_turning() -> None:
    named = {name for row in ROWS for name in re.findall(r"`([\w-]+)`", row[0])}
    assert named == set(EXACT)


@pytest.mark.parametrize("names", [row[0] for row in ROWS])
def test_each_loses_what_the_table_says(names: str) -> None:
    (said,) = (row[1:] for row in ROWS if row[0] == names)
    for place, number in zip(PLACES, said, strict=True):
        if number == "–":
            continue
        found = {name: deviation(name, place) for name in re.findall(r"`([\w-]+)`", names)}
        assert float(number) / 3 <= max(found.values()) <= float(number) * 1.5, found
