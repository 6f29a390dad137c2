"""The ways of RoPE past the trained extent, each against its formula in plain float64."""

from __future__ import annotations

import math

import pytest
import torch

from pebench.encoding_config import build_encoding
from pebench.encodings.rope import RotaryEncoding
from pebench.position_encoding import Extrapolation, Geometry, tabulate

WIDTH, TRAINED, BASE = 32, 512, 10000.0
METHODS = RotaryEncoding.extrapolations


def _rope_frequency(base: float, pair: int) -> float:
    return math.pow(base, -2 * pair / WIDTH)


def _yarn_frequency(pair: int, scale: float) -> float:
    def pair_with_turns(turns: float) -> float:
        return WIDTH * math.log(TRAINED / (turns * 2 * math.pi)) / (2 * math.log(BASE))

    first, last = math.floor(pair_with_turns(32)), math.ceil(pair_with_turns(1))
    stretched = min(max((pair - first) / (last - first), 0.0), 1.0)
    frequency = _rope_frequency(BASE, pair)
    return frequency * (1 - stretched) + frequency / scale * stretched


def _frequency(method: str, pair: int, scale: float) -> float:
    power = WIDTH / (WIDTH - 2)
    match method:
        case "extend":
            return _rope_frequency(BASE, pair)
        case "pi":
            return _rope_frequency(BASE, pair) / scale
        case "ntk":
            return _rope_frequency(BASE * scale**power, pair)
        case "dynamic-ntk":
            return _rope_frequency(BASE * (scale * scale - (scale - 1)) ** power, pair)
        case "yarn":
            return _yarn_frequency(pair, scale)
    raise AssertionError(method)


@pytest.mark.parametrize("scale", [1, 2, 8])
@pytest.mark.parametrize("method", METHODS)
def test_rope_past_the_trained_extent(method: str, scale: int) -> None:
    encoding = build_encoding("rope", {}, Geometry(4 * WIDTH, 4, 1, (TRAINED,)))
    positions = torch.tensor([[0, 1, 7, TRAINED - 1, TRAINED * scale - 1]])
    cosine, sine = tabulate(encoding, positions[..., None], Extrapolation((TRAINED * scale,), method))
    factor = 0.1 * math.log(scale) + 1 if method == "yarn" else 1.0
    for number, position in enumerate(positions[0].tolist()):
        for pair in range(WIDTH // 2):
            angle = position * _frequency(method, pair, float(scale))
            assert float(cosine[0, number, pair]) == pytest.approx(factor * math.cos(angle), abs=1e-3)
            assert float(sine[0, number, pair]) == pytest.approx(factor * math.sin(angle), abs=1e-3)


@pytest.mark.parametrize("extent", [TRAINED, TRAINED // 4])
@pytest.mark.parametrize("method", METHODS)
def test_within_the_trained_extent_every_way_is_rope(method: str, extent: int) -> None:
    encoding = build_encoding("rope", {}, Geometry(4 * WIDTH, 4, 1, (TRAINED,)))
    positions = torch.arange(extent)[None, :, None]
    plain = tabulate(encoding, positions, Extrapolation((extent,)))
    for found, wanted in zip(
        tabulate(encoding, positions, Extrapolation((extent,), method)), plain, strict=True
    ):
        assert torch.equal(found, wanted)
