"""The encodings of one and two axes on three, by plain loops; and two axes where the third stands still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pebench.encoding_config import build_encoding
from pebench.formulas.axes import shares
from pebench.position_encoding import (
    Block,
    Dense,
    Extrapolation,
    Geometry,
    StepRNG,
    grid,
    layer_inputs,
    tabulate,
)

EXTENT = (3, 4, 5)


def _built(name: str, options: Mapping[str, Any], geometry: Geometry, seed: int = 0) -> Any:
    """An encoding whose parameters can be named without a word about their types."""
    return build_encoding(name, options, geometry, seed)


def _geometry(width: int, heads: int, layers: int = 1) -> Geometry:
    return Geometry(width, heads, layers, EXTENT, causal=False)


def test_pairs_are_shared_out_alike_and_the_rest_goes_to_the_last_axes() -> None:
    assert shares(8, 1) == (8,)
    assert shares(8, 2) == (4, 4)
    assert shares(8, 3) == (2, 3, 3)
    assert shares(32, 3) == (10, 11, 11)
    with pytest.raises(ValueError, match="2 pairs of channels are too few for 3 axes"):
        shares(2, 3)


def test_rope_axial_turns_with_column_then_row_then_frame() -> None:
    encoding = _built("rope-axial", {}, _geometry(32, 2))
    q = torch.randn(1, 2, 60, 16)
    at = Extrapolation(EXTENT)
    turned, _ = encoding.rotate(layer_inputs(encoding, q, q, q, tabulate(encoding, grid(EXTENT), at)))
    for n, place in enumerate(grid(EXTENT)[0].tolist()):
        angles = [
            place[axis] * 100 ** (-c / pairs)
            for axis, pairs in ((2, 3), (1, 3), (0, 2))
            for c in range(pairs)
        ]
        for c, angle in enumerate(angles):
            pair = torch.view_as_complex(q[0, :, n, 2 * c : 2 * c + 2].double())
            wanted = torch.view_as_real(pair * complex(math.cos(angle), math.sin(angle)))
            torch.testing.assert_close(
                turned[0, :, n, 2 * c : 2 * c + 2].double(), wanted, atol=1e-5, rtol=1e-5
            )


@torch.no_grad()
def test_rope_mixed_starts_along_three_directions_at_right_angles_and_turns_with_all() -> None:
    encoding = _built("rope-mixed", {}, _geometry(96, 4, 3), seed=2)
    frequencies = encoding.frequencies.double()
    assert frequencies.shape == (3, 3, 4, 12)
    lengths = torch.tensor([10 ** (-(c % 4) / 4) for c in range(12)], dtype=torch.float64)
    torch.testing.assert_close(frequencies.norm(dim=0), lengths.expand(3, 4, 12), atol=1e-5, rtol=1e-5)
    directions = (frequencies / lengths)[..., ::4]
    right = torch.einsum("alhc,alhe->lhce", directions, directions)
    torch.testing.assert_close(right, torch.eye(3).double().expand(3, 4, 3, 3), atol=1e-5, rtol=1e-5)
    many = _built("rope-mixed", {}, _geometry(6 * 64, 64, 8)).frequencies[..., 0].flatten(1)
    torch.testing.assert_close(many.mean(1), torch.zeros(3), atol=0.1, rtol=0)
    torch.testing.assert_close(many @ many.T / many.shape[1], torch.eye(3) / 3, atol=0.1, rtol=0)
    q = torch.randn(1, 4, 60, 24, dtype=torch.float64)
    table = tabulate(encoding, grid(EXTENT), Extrapolation(EXTENT))
    turned, _ = encoding.rotate(layer_inputs(encoding, q, q, q, table, 1))
    place = grid(EXTENT)[0].double().flip(-1)
    angles = torch.einsum("na,ahc->hnc", place, frequencies[:, 1])
    wanted = torch.view_as_complex(q.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned, torch.view_as_real(wanted).flatten(-2), atol=1e-5, rtol=1e-5)


def test_sinusoids_of_frame_row_and_column_stand_one_after_another() -> None:
    encoding = _built("sinusoidal", {}, _geometry(16, 2))
    table = tabulate(encoding, grid(EXTENT), Extrapolation(EXTENT))[0]
    for n, place in enumerate(grid(EXTENT)[0].tolist()):
        wanted = [
            wave(place[axis] * 10_000 ** (-c / pairs))
            for axis, pairs in enumerate((2, 3, 3))
            for c in range(pairs)
            for wave in (math.sin, math.cos)
        ]
        torch.testing.assert_close(table[n], torch.tensor(wanted), atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_learned_rows_are_resampled_trilinearly() -> None:
    encoding = _built("learned", {}, _geometry(4, 2))
    inside = tabulate(encoding, grid(EXTENT), Extrapolation(EXTENT, "interpolate"))
    assert torch.equal(inside[0].view(*EXTENT, 4), encoding.rows)
    served = (6, 4, 5)
    found = tabulate(encoding, grid(served), Extrapolation(served, "interpolate"))[0].view(*served, 4)
    # Twice the frames: each lies a quarter of a frame beside one that was trained.
    torch.testing.assert_close(found[1], 0.75 * encoding.rows[0] + 0.25 * encoding.rows[1])
    torch.testing.assert_close(found[4], 0.25 * encoding.rows[1] + 0.75 * encoding.rows[2])
    both = (6, 8, 5)
    wide = tabulate(encoding, grid(both), Extrapolation(both, "interpolate"))[0].view(*both, 4)
    torch.testing.assert_close(wide[:, 1], 0.75 * found[:, 0] + 0.25 * found[:, 1])


@torch.no_grad()
def test_alibi_falls_with_the_distance_in_time_and_space() -> None:
    encoding = _built("alibi", {}, _geometry(16, 2))
    table = tabulate(encoding, grid(EXTENT), Extrapolation(EXTENT))
    q = torch.zeros(1, 2, 60, 8)
    bias = encoding.bias(layer_inputs(encoding, q, q, q, table))
    assert isinstance(bias, Dense)
    whole = Block(slice(0, 60), slice(0, 60), torch.ones(1, 1, 60, 60, dtype=torch.bool))
    found, cells = bias.values(whole)[0], grid(EXTENT)[0].tolist()
    for h, i, j in np.ndindex(2, 60, 60):
        wanted = -(2.0 ** (-4 * (h + 1))) * math.dist(cells[i], cells[j])
        assert float(found[h, i, j]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["alibi", "pape-ri", "comrope"])
@torch.no_grad()
def test_a_single_frame_is_a_picture(name: str) -> None:
    """Where the frame stands still, three axes with the same parameters are two."""
    clip = _built(name, {}, Geometry(64, 2, 1, (1, 4, 5), causal=False))
    picture = _built(name, {}, Geometry(64, 2, 1, (4, 5), causal=False))
    for key, value in picture.state_dict().items():
        own = clip.state_dict()[key]
        own.copy_(value) if own.shape == value.shape else own[-2:].copy_(value)
    q, k, hidden = torch.randn(1, 2, 20, 32), torch.randn(1, 2, 20, 32), torch.randn(1, 20, 64)
    logits = []
    for encoding, extent in ((clip, (1, 4, 5)), (picture, (4, 5))):
        table = tabulate(encoding, grid(extent), Extrapolation(extent))
        x = layer_inputs(encoding, q, k, hidden, table)
        turned = encoding.rotate(x)
        bias = encoding.bias(x)
        product = turned[0] @ turned[1].mT
        if bias is not None:
            whole = Block(slice(0, 20), slice(0, 20), torch.ones(1, 1, 20, 20, dtype=torch.bool))
            product = product + bias.values(whole)
        logits.append(F.log_softmax(product, -1))
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_seqpe_draws_positions_of_three_axes_without_writing_them_all_down() -> None:
    encoding = _built("seqpe", {"positions": 2000, "width": 16}, _geometry(32, 2))
    pivots = [encoding.drawing.of(StepRNG(0, step)).pivots for step in range(60)]
    assert torch.equal(pivots[3], encoding.drawing.of(StepRNG(0, 3)).pivots)
    assert not torch.equal(pivots[3], pivots[4])
    spread = torch.cat(pivots).double()
    assert spread.min() >= 0
    assert spread.max() < 2000
    torch.testing.assert_close(spread.mean(0), torch.full((3,), 999.5).double(), atol=60, rtol=0)
    losses = encoding.auxiliary_losses(
        grid(EXTENT), tabulate(encoding, grid(EXTENT), Extrapolation(EXTENT)), StepRNG(0, 3)
    )
    assert losses
    assert all(bool(loss.isfinite()) for loss in losses.values())
