"""The encodings for grids compute what their definitions say, by golden values and by plain float64."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from references.golden_values import load
from scipy.linalg import expm
from scipy.special import erfinv
from torch import Tensor

from pebench.attention.prefix_tokens import joined
from pebench.encoding_config import build_encoding
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Extrapolation,
    Geometry,
    PositionEncoding,
    StepRNG,
    TableInputs,
    grid,
    layer_inputs,
    tabulate,
)


def _built(name: str, options: Mapping[str, Any], geometry: Geometry, seed: int = 0) -> Any:
    """An encoding whose parameters can be named without a word about their types."""
    return build_encoding(name, options, geometry, seed)


def _golden(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a file, and its settings."""
    arrays = load(name)
    config: dict[str, Any] = json.loads(str(arrays["config"]))
    return {key: torch.from_numpy(value) for key, value in arrays.items() if value.dtype.kind != "U"}, config


def _geometry(like: Tensor, extent: tuple[int, ...], prefix: int = 0) -> Geometry:
    """Of one layer that holds (B, H, N, d) queries."""
    heads, width = like.shape[1], like.shape[3]
    return Geometry(heads * width, heads, 1, extent, causal=False, prefix_tokens=prefix)


def _interleaved(x: Tensor) -> Tensor:
    """Channels of which c and c + d/2 are a pair, with the two of a pair beside each other."""
    return torch.stack(x.chunk(2, dim=-1), dim=-1).flatten(-2)


def _layer(
    encoding: PositionEncoding,
    positions: Tensor,
    q: Tensor,
    k: Tensor | None = None,
    hidden: Tensor | None = None,
    at: Extrapolation | None = None,
    rng: StepRNG | None = None,
) -> AttentionInputs:
    at = at or Extrapolation(encoding.geometry.extent, encoding.extrapolations[0])
    table = tabulate(encoding, positions[None], at, rng=rng)
    return layer_inputs(encoding, q, q if k is None else k, q if hidden is None else hidden, table)


def _close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), atol=tolerance, rtol=tolerance)


def _turned(q: Tensor, angles: Tensor) -> Tensor:
    """(B, H, N, d) queries, each interleaved pair as a complex number turned by its (…, N, d/2) angle."""
    pairs = torch.view_as_complex(q.double().unflatten(-1, (-1, 2)).contiguous())
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("dinov3", {}, 1e-5),
        ("dinov3_min", {"normalize": "min"}, 1e-5),
        ("dinov3_large", {}, 1e-5),
        # The published angles, of 600 radians, are in float32.
        ("dinov3_periods", {"periods": (0.01, 1.0)}, 5e-4),
    ],
)
def test_dinov3_has_the_golden_values(name: str, options: dict[str, Any], tolerance: float) -> None:
    golden, config = _golden(name)
    encoding = _built("dinov3", options, _geometry(golden["q"], tuple(config["extent"])))
    q = _interleaved(golden["q"])
    found, _ = encoding.rotate(_layer(encoding, golden["positions_2d"], q))
    _close(found, _interleaved(golden["q_out"]), tolerance)


def test_dinov3_is_shifted_then_jittered_then_rescaled_as_published() -> None:
    golden, config = _golden("dinov3_augmented")
    extent = tuple(config["extent"])
    options = {key: config[key] for key in ("shift", "jitter", "rescale")}
    encoding = _built("dinov3", options, Geometry(16, 1, 1, extent, causal=False))
    factors = (golden["jitter"].double() * golden["rescale"].double()).tolist()
    encoding.augmentation = lambda rng: (golden["shift"].tolist(), factors)
    at = Extrapolation(extent, "interpolate")
    cosine, sine = tabulate(encoding, grid(extent), at, rng=StepRNG(0, 0))
    _close(cosine[0], golden["cos"])
    _close(sine[0], golden["sin"])


def test_dinov3_draws_anew_in_each_training_step_within_its_bounds_and_not_in_evaluation() -> None:
    options = {"shift": 0.25, "jitter": 1.5, "rescale": 2.0}
    encoding = _built("dinov3", options, Geometry(16, 1, 1, (4, 6), causal=False))
    drawn = [encoding.augmentation(StepRNG(3, step)) for step in range(200)]
    assert drawn == [encoding.augmentation(StepRNG(3, step)) for step in range(200)]
    shifts, factors = (np.array(part) for part in zip(*drawn, strict=True))
    assert 0.2 < np.abs(shifts).max() <= 0.25
    assert 2 < factors.max() <= 3
    assert 1 / 3 <= factors.min() < 1 / 2
    ratio = factors[:, 0] / factors[:, 1]
    assert ratio.std() > 0.1, "each axis has a jitter of its own"
    at = Extrapolation((4, 6), "interpolate")
    tables = [tabulate(encoding, grid((4, 6)), at, rng=rng)[0] for rng in (None, None, StepRNG(3, 0))]
    assert torch.equal(tables[0], tables[1])
    assert not torch.allclose(tables[0], tables[2])
    plain = _built("dinov3", {"rescale": 1.0}, encoding.geometry)
    assert torch.equal(tabulate(plain, grid((4, 6)), at, rng=StepRNG(3, 0))[0], tables[0])


def test_dinov3_is_the_loop_of_its_definition() -> None:
    encoding = _built("dinov3", {}, Geometry(48, 2, 1, (3, 5), causal=False))
    q, extent = torch.randn(1, 2, 15, 24, dtype=torch.float64), (3, 5)
    angles = torch.tensor(
        [
            [
                2 * math.pi * (2 * (place + 0.5) / size - 1) / 100 ** (4 * t / 24)
                for place, size in ((row, 3), (column, 5))
                for t in range(6)
            ]
            for row in range(3)
            for column in range(5)
        ],
        dtype=torch.float64,
    )
    found, _ = encoding.rotate(_layer(encoding, grid(extent)[0], q))
    _close(found, _turned(q, angles), 1e-6)


@pytest.mark.parametrize("layout", ["interleaved", "chunked"])
def test_m_rope_has_the_golden_values_where_float32_angles_keep_their_digits(layout: str) -> None:
    golden, config = _golden(f"mrope_{layout}")
    positions = golden["positions_3d"]
    options = {"layout": layout, "sections": config["sections"], "base": config["base"]}
    encoding = _built("m-rope", options, _geometry(golden["q"], (4, 8, 8)))
    found, _ = encoding.rotate(_layer(encoding, positions, _interleaved(golden["q"])))
    near = positions.amax(-1) < 5000
    assert 0 < int((~near).sum()) < len(near)
    _close(found[:, :, near], _interleaved(golden["q_out"])[:, :, near], 1e-4)


@pytest.mark.parametrize(
    ("layout", "sections", "reads"),
    [
        ("chunked", [2, 3, 3], [0, 0, 1, 1, 1, 2, 2, 2]),
        ("chunked", None, [0, 0, 1, 1, 1, 2, 2, 2]),
        ("interleaved", [3, 3, 2], [0, 1, 2, 0, 1, 2, 0, 1]),
        ("interleaved", None, [0, 1, 2, 0, 1, 2, 0, 0]),
        # Sections that go on past the head are clipped.
        ("interleaved", [0, 9, 1], [0, 1, 2, 0, 1, 0, 0, 1]),
    ],
)
def test_m_rope_is_the_loop_of_its_definition_out_to_far_positions(
    layout: str, sections: list[int] | None, reads: list[int]
) -> None:
    encoding = _built(
        "m-rope", {"layout": layout, "sections": sections}, Geometry(32, 2, 1, (2, 3, 4), False)
    )
    positions = torch.tensor([[0, 0, 0], [1, 2, 3], [131_071, 70_001, 99_999]])
    q = torch.randn(1, 2, 3, 16, dtype=torch.float64)
    angles = [
        [place[axis] * 1e6 ** (-2 * c / 16) for c, axis in enumerate(reads)] for place in positions.tolist()
    ]
    found, _ = encoding.rotate(_layer(encoding, positions, q))
    _close(found, _turned(q, torch.tensor(angles, dtype=torch.float64)), 1e-6)


def test_m_rope_with_three_equal_coordinates_is_rope() -> None:
    line = torch.tensor([0, 1, 5, 40])
    q = torch.randn(1, 2, 4, 16)
    on_grid = _built("m-rope", {"base": 10_000.0}, Geometry(32, 2, 1, (64, 64, 64), False))
    on_line = _built("rope", {}, Geometry(32, 2, 1, (64,)))
    found, _ = on_grid.rotate(_layer(on_grid, line[:, None].expand(-1, 3), q))
    wanted, _ = on_line.rotate(_layer(on_line, line[:, None], q))
    _close(found, wanted)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_golden_gate_has_the_golden_values(axes: int) -> None:
    golden, config = _golden(f"golden_gate_{axes}d")
    options = {key: config[key] for key in ("min_frequency", "max_frequency", "zero")}
    # Places from −1 to 1 are positions on a grid of which each side has the length 2.
    encoding = _built("golden-gate", options, _geometry(golden["q"], (2,) * axes))
    _close(encoding.waves, golden["frequencies"])
    found, _ = encoding.rotate(_layer(encoding, golden["positions"], _interleaved(golden["q"])))
    _close(found, _interleaved(golden["q_out"]), 2e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_golden_gate_spreads_its_directions_over_all_that_there_are(axes: int) -> None:
    encoding = _built("golden-gate", {"zero": 0.25}, Geometry(256, 4, 1, (8,) * axes, False))
    lengths = encoding.waves.norm(dim=-1)
    assert (lengths[:, :8] == 0).all()
    wanted = 0.2 * 100 ** (torch.arange(24, dtype=torch.float64) / 23)
    torch.testing.assert_close(lengths[:, 8:], wanted.expand(4, -1))
    directions = (encoding.waves[:, 8:] / lengths[:, 8:, None]).flatten(0, 1)
    moments = directions.T @ directions / len(directions)
    torch.testing.assert_close(moments, torch.eye(axes).double() / axes, atol=0.08, rtol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("spiral", {}), ("spiral_different", {"same": False, "max_frequency": 0.5})],
)
def test_spiral_clamped_has_the_golden_values_and_unclamped_leaves_them_at_the_border(
    name: str, options: dict[str, Any]
) -> None:
    golden, config = _golden(name)
    side = (config["side"],) * 2
    found = {}
    for clamp in (True, False):
        encoding = _built("spiral", {**options, "clamp": clamp}, _geometry(golden["q"], side))
        found[clamp], _ = encoding.rotate(_layer(encoding, golden["positions_2d"], golden["q"]))
    _close(found[True], golden["q_out"])
    off = (found[False] - golden["q_out"]).abs().amax((0, 1, 3)).view(side)
    assert off[0, 0] > 0.2, "the published code clips the corners"
    inside = slice(side[0] // 4, -(side[0] // 4))
    assert off[inside, inside].max() < 1e-5


@pytest.mark.parametrize("name", ["comrope_ld", "comrope_ap", "comrope_ap_3d"])
@torch.no_grad()
def test_comrope_has_the_golden_values(name: str) -> None:
    golden, config = _golden(name)
    q, k, positions = golden["q"][None], golden["k"][None], golden["positions"]
    # A trained extent of one position an axis: places are positions and a half.
    options = {"kind": name.split("_")[1], "block": config["block"]}
    encoding = _built("comrope", options, _geometry(q, (1,) * config["axes"])).double()
    encoding.matrices.copy_(golden["blocks"][None])
    if encoding.multipliers is not None:
        encoding.multipliers.copy_(golden["multiplier"][:, None])
    turned = encoding.rotate(_layer(encoding, positions - 0.5, q, k))
    for found, key in zip(turned, ("q_out", "k_out"), strict=True):
        torch.testing.assert_close(found[0], golden[key], atol=1e-12, rtol=1e-12)
    logits = turned[0] @ turned[1].mT
    torch.testing.assert_close(logits[0], golden["logits_unscaled"], atol=1e-11, rtol=1e-11)


def _values(bias: Bias | None, count: int) -> Tensor:
    """The whole bias of a number of tokens, the same by its numbers one by one where it has that form."""
    assert isinstance(bias, Dense)
    whole = Block(slice(0, count), slice(0, count), torch.ones(1, 1, count, count, dtype=torch.bool))
    values = bias.values(whole)
    if bias.score is not None:
        for place in ((0, 0, 0, 0), (0, values.shape[1] - 1, count - 1, 1), (0, 1, 2, count - 2)):
            single = bias.score(*(torch.tensor(number) for number in place))
            torch.testing.assert_close(single, values[place], atol=1e-5, rtol=1e-5)
    return values


@pytest.mark.parametrize("name", ["pape_1d", "pape_2d", "pape_ri_2d"])
@torch.no_grad()
def test_pape_has_the_golden_values(name: str) -> None:
    golden, config = _golden(name)
    q, k, hidden, positions = (golden[key] for key in ("q", "k", "hidden", "positions"))
    extent = tuple(int(size) + 1 for size in positions.amax(0))
    rotation_invariant = "ri" in name
    options = {} if rotation_invariant else {"parabolas": config["parabolas"]}
    # The published code gives the class token the place (0, 0).
    encoding = _built("pape-ri" if rotation_invariant else "pape", options, _geometry(q, extent)).double()
    if rotation_invariant:
        encoding.scales.copy_(golden["position_scales"][None])
        encoding.measures[0].weight.copy_(golden["w_a"])
    else:
        encoding.directions.copy_(golden["w_position"].movedim(-1, 0)[:, None])
        encoding.measures[0].weight.copy_(torch.stack((golden["w_a"], golden["w_b"])).flatten(0, 2))
    bias = _values(encoding.bias(_layer(encoding, positions, q, k, hidden)), q.shape[2])
    _close(q @ k.mT * encoding.scale() + bias, golden["logits"])
    beside = q @ k.mT * encoding.scale() + bias / encoding.scale()
    assert (beside - golden["logits"]).abs().max() > 1, "the bias is under 1/√d, as the content is"


@pytest.mark.parametrize("axes", [1, 2, 3])
@torch.no_grad()
def test_pape_is_the_sum_over_its_parabolas_near_and_far_from_the_origin(axes: int) -> None:
    encoding = _built("pape", {"parabolas": 3}, Geometry(16, 2, 1, (9,) * axes, causal=False))
    draws = torch.Generator().manual_seed(0)
    hidden, q = torch.randn(2, 7, 16, generator=draws), torch.randn(2, 2, 7, 8, generator=draws)
    near = torch.randint(0, 9, (7, axes), generator=draws)
    u = encoding.directions[:, 0].double()
    w, v = encoding.measures[0].weight.double().view(2, 2, 3, 16)
    a = torch.nn.functional.softplus(torch.einsum("bnd,hpd->bhpn", hidden.double(), w))
    b = torch.einsum("bnd,hpd->bhpn", hidden.double(), v)
    wanted = torch.zeros(2, 2, 7, 7, dtype=torch.float64)
    for h, p, i, j in np.ndindex(2, 3, 7, 7):
        apart = float(u[:, h, p] @ (near[i] - near[j]).double())
        wanted[:, h, i, j] += (b[:, h, p, i] * apart - a[:, h, p, i] * apart**2) / math.sqrt(8)
    for offset in (0, 1_000_000):
        found = _values(encoding.bias(_layer(encoding, near + offset, q, q, hidden)), 7)
        _close(found, wanted, 2e-5)


@pytest.mark.parametrize("prefix", [0, 1])
@torch.no_grad()
def test_swin_has_the_golden_values_by_query_minus_key(prefix: int) -> None:
    golden, config = _golden("relative_table_class_token" if prefix else "relative_table")
    heads, (rows, columns) = config["heads"], config["window"]
    encoding = _built("swin", {}, Geometry(4 * heads, heads, 1, (rows, columns), False, prefix)).double()
    encoding.steps.copy_(golden["table"][None])
    if prefix:
        encoding.prefix.copy_(golden["extra"][None])
    count = prefix + rows * columns
    q = torch.zeros(1, heads, count, 4)
    x = _layer(encoding, golden["positions_2d"], q)
    table = joined(encoding.prefix_table(), x.q_table) if prefix else x.q_table
    bias = _values(encoding.bias(x._replace(q_table=table, k_table=table)), count)
    torch.testing.assert_close(bias[0], golden["bias"], atol=0, rtol=0)
    assert not torch.allclose(bias.mT, bias, atol=1.0), "key minus query is another thing"


@pytest.mark.parametrize("method", ["geometric", "bicubic"])
@torch.no_grad()
def test_swin_resized_has_the_golden_values(method: str) -> None:
    golden, config = _golden("relative_table_resized")
    old, new = tuple(config["old"]), tuple(config["new"])
    encoding = _built("swin", {}, Geometry(8, 2, 1, old, False)).double()
    encoding.steps.copy_(golden["table"][None])
    q, at = torch.zeros(1, 2, math.prod(new), 4), Extrapolation(new, method)
    bias = _values(encoding.bias(_layer(encoding, grid(new)[0], q, at=at)), math.prod(new))
    row, column = grid(new)[0].unbind(-1)
    down, right = (place[:, None] - place for place in (row, column))
    wanted = golden[f"resized_{method}"][:, down + new[0] - 1, right + new[1] - 1]
    _close(bias[0], wanted, 1e-6)


@torch.no_grad()
def test_swin_geometric_keeps_small_steps_and_brings_the_largest_to_the_border() -> None:
    encoding = _built("swin", {}, Geometry(8, 2, 1, (8, 8), False))
    window = encoding.table(
        TableInputs(grid((12, 12)), Extrapolation((12, 12), "geometric"), torch.device("cpu"))
    )
    resized, steps = encoding._resized(0, window), encoding.steps[0]
    _close(resized[:, 11, 11], steps[:, 7, 7])
    _close(resized[:, 12, 10], steps[:, 8, 6])
    _close(resized[:, 22, 0], steps[:, 14, 0], 1e-4)
    one_row = _built("swin", {}, Geometry(8, 2, 1, (1, 8), False))
    window = one_row.table(
        TableInputs(grid((3, 12)), Extrapolation((3, 12), "geometric"), torch.device("cpu"))
    )
    found = one_row._resized(0, window)
    assert torch.equal(found, found[:, :1].expand_as(found)), "a table of one row says nothing about rows"


@pytest.mark.parametrize("mode", ["swin", "cr"])
@torch.no_grad()
def test_log_cpb_has_the_golden_values(mode: str) -> None:
    golden, config = _golden(f"log_cpb_{mode}")
    heads, extent = config["heads"], tuple(config["window"])
    options = {"mode": mode, "hidden": len(golden["b1"])}
    encoding = _built("log-cpb", options, Geometry(4 * heads, heads, 1, extent, False)).double()
    for key, ours in (("w1", "0.weight"), ("b1", "0.bias"), ("w2", "2.weight"), ("b2", "2.bias")):
        if key in golden:
            encoding.functions[0].get_parameter(ours).copy_(golden[key])
    count = math.prod(extent)
    bias = _values(
        encoding.bias(_layer(encoding, golden["positions_2d"], torch.zeros(1, heads, count, 4))), count
    )
    _close(bias[0], golden["bias"])


@torch.no_grad()
def test_log_cpb_goes_on_by_its_formula_beyond_the_trained_grid() -> None:
    encoding = _built("log-cpb", {"hidden": 5}, Geometry(8, 2, 1, (4, 1), False))
    w1, b1, w2 = (
        encoding.functions[0].get_parameter(key).double() for key in ("0.weight", "0.bias", "2.weight")
    )
    at = Extrapolation((6, 7))
    bias = _values(encoding.bias(_layer(encoding, grid((6, 7))[0], torch.zeros(1, 2, 42, 4), at=at)), 42)
    cells = grid((6, 7))[0].double()
    for i, j in ((0, 41), (41, 0), (9, 9), (30, 17)):
        step = cells[i] - cells[j]
        spaced = step.sign() * torch.log2(1 + 8 * step.abs() / torch.tensor([3.0, 1.0])) / 3
        wanted = 16 * (w2 @ (w1 @ spaced + b1).relu()).sigmoid()
        _close(bias[0, :, i, j], wanted)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_golden_gate_is_the_loop_of_its_definition(axes: int) -> None:
    options = {"min_frequency": 0.5, "max_frequency": 8.0, "zero": 0.25}
    extent = (5, 6, 7)[:axes]
    encoding = _built("golden-gate", options, Geometry(32, 2, 1, extent, False))
    phi = {1: 1.618034, 2: 1.324718, 3: 1.220744}[axes]
    for method, size in (("extend", extent), ("interpolate", (10, 12, 14)[:axes])):
        q, positions = (
            torch.randn(1, 2, 3, 16, dtype=torch.float64),
            torch.tensor([[0, 1, 2], [3, 0, 1], [4, 4, 4]]),
        )
        angles = torch.zeros(2, 3, 8, dtype=torch.float64)
        for h, n, c in np.ndindex(2, 3, 8):
            if c < 2:
                continue
            shares = [(h * 8 + c + 1) * phi ** -(a + 1) % 1 for a in range(axes)]
            direction = np.array([erfinv(2 * share - 1) for share in shares])
            direction /= np.linalg.norm(direction)
            place = [2 * float(positions[n, a]) / size[a] for a in range(axes)]
            angles[h, n, c] = 0.5 * 16 ** ((c - 2) / 5) * float(direction @ place)
        at = Extrapolation((10, 12, 14)[:axes], method)
        found, _ = encoding.rotate(_layer(encoding, positions[:, :axes], q, at=at))
        _close(found, _turned(q, angles[None]), 2e-3)


@pytest.mark.parametrize("same", [True, False])
def test_spiral_is_the_loop_of_its_definition_on_any_grid(same: bool) -> None:
    options = {"directions": 2, "same": same, "base": 100.0, "max_frequency": 0.7}
    encoding = _built("spiral", options, Geometry(64, 2, 1, (4, 6), False))
    served, width = (8, 10), 32
    waves = [0.7 * 100 ** (-2 * i / (width // 2 // 2)) for i in range(4)]
    by_pair = (
        [waves[0], waves[1]] * 2 + [waves[2], waves[3]] * 2
        if same
        else [0.7 * 100 ** (-2 * i / (width // 2)) for i in range(8)]
    )
    angles = []
    for row in range(8):
        for column in range(10):
            y, x = (row - 3.5) * 4 / 8, (column - 4.5) * 6 / 10
            turns = [math.pi / 4 * (m // 2 % 2) for m in range(8)]
            first = [w * (math.cos(t) * y + math.sin(t) * x) for w, t in zip(by_pair, turns, strict=True)]
            second = [w * (math.cos(t) * x - math.sin(t) * y) for w, t in zip(by_pair, turns, strict=True)]
            angles.append(first + second)
    # Angles are counted from the centre up to what all cells have in common, which no logit sees.
    q, k = torch.randn(2, 1, 2, 80, 32, dtype=torch.float64)
    turned = encoding.rotate(_layer(encoding, grid(served)[0], q, k, at=Extrapolation(served, "interpolate")))
    exact = [_turned(x, torch.tensor(angles, dtype=torch.float64)) for x in (q, k)]
    _close(turned[0] @ turned[1].mT, exact[0] @ exact[1].mT)


@pytest.mark.parametrize("kind", ["ld", "ap"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@torch.no_grad()
def test_comrope_is_the_exponential_of_its_definition(axes: int, kind: str) -> None:
    extent, served = (4, 6, 5)[:axes], (8, 9, 10)[:axes]
    encoding = _built("comrope", {"kind": kind, "block": 4}, Geometry(32, 2, 2, extent, False))
    q, positions = torch.randn(5, 2, 3, 16), torch.tensor([[0, 0, 0], [7, 2, 9], [3, 8, 4]])[:, :axes]
    for method, sizes in (("extend", extent), ("interpolate", served)):
        at = Extrapolation(served, method)
        x = _layer(encoding, positions, q, at=at)
        for batch in (q[:1], q):
            turned, _ = encoding.rotate(x._replace(q=batch, k=batch, layer=1))
            for h, n, t in np.ndindex(2, 3, 4):
                place = [(float(positions[n, a]) + 0.5) / sizes[a] for a in range(axes)]
                matrix = encoding.matrices[1, h, t].double().numpy()
                times = place[t % axes]
                if kind == "ld":
                    times = sum(float(encoding.multipliers[a, 1, t]) * place[a] for a in range(axes))
                rotation = torch.from_numpy(expm(times * (matrix - matrix.T)))
                part = slice(4 * t, 4 * t + 4)
                wanted = batch[:, h, n, part].double() @ rotation.T
                _close(turned[:, h, n, part], wanted, 2e-5)


def test_comrope_moves_positions_in_training_alone_each_by_half_a_cell_at_most() -> None:
    options = {"noise": 3.0, "offset": 0.5}
    encoding = _built("comrope", options, Geometry(32, 2, 1, (20, 30), False))
    at = Extrapolation((20, 30), "extend")
    plain = tabulate(encoding, grid((20, 30)), at)
    cell = 1 / torch.tensor([20.0, 30.0])
    moves = [
        (tabulate(encoding, grid((20, 30)), at, rng=StepRNG(1, step)) - plain) / cell for step in range(40)
    ]
    offsets = torch.stack([(move.amax(1) + move.amin(1)) / 2 for move in moves])
    spans = torch.stack([move.amax(1) - move.amin(1) for move in moves])
    torch.testing.assert_close(spans, torch.ones_like(spans))
    assert 0.35 < float(offsets.std()) < 0.65
    assert torch.equal(plain, tabulate(encoding, grid((20, 30)), at))


@torch.no_grad()
def test_pape_ri_knows_neither_direction_nor_origin() -> None:
    encoding = _built("pape-ri", {}, Geometry(16, 2, 2, (9, 9, 9), causal=False))
    hidden, q = torch.randn(2, 5, 16), torch.zeros(2, 2, 5, 8)
    places = torch.tensor([[0, 0, 0], [3, 4, 0], [0, 3, 4], [8, 8, 8], [5, 0, 0]])
    wanted = torch.zeros(2, 2, 5, 5, dtype=torch.float64)
    for b, h, i, j in np.ndindex(2, 2, 5, 5):
        a = math.log1p(math.exp(float(encoding.measures[0].weight[h].double() @ hidden[b, i].double())))
        squared = float((places[i] - places[j]).square().sum())
        wanted[b, h, i, j] = -a * float(encoding.scales[0, h]) ** 2 * squared / math.sqrt(8)
    for moved in (places, places.flip(-1), 1_000_000 - places):
        _close(_values(encoding.bias(_layer(encoding, moved, q, q, hidden)), 5), wanted)
    bound = 3**-0.5
    assert float(encoding.scales.abs().max()) <= bound
    many = _built("pape-ri", {}, Geometry(512, 64, 8, (9, 9, 9), causal=False)).scales
    assert float(many.abs().max()) > 0.95 * bound
    assert "scales" in encoding.state_dict(), "what was drawn is kept with the weights"


@pytest.mark.parametrize("extent", [(24,), (4, 6), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("kind", ["cayley", "circulant"])
@torch.no_grad()
def test_string_turns_by_the_exponential_of_its_matrices(kind: str, extent: tuple[int, ...]) -> None:
    """Logits are those of the definition, whose factor on the left the encoding leaves out."""
    width, heads = 12, 2
    encoding: Any = build_encoding("string", {"kind": kind}, Geometry(24, heads, 1, extent, causal=False))
    for parameter in encoding.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.3)
    places = grid(extent)
    q, k = (torch.randn(1, heads, len(places[0]), width) for _ in range(2))
    table = tabulate(encoding, places, Extrapolation(extent))
    found = encoding.rotate(layer_inputs(encoding, q, k, q, table))
    wanted = [torch.zeros_like(q, dtype=torch.float64) for _ in range(2)]
    for head in range(heads):
        generators = [_string_generator(encoding, axis, head, width) for axis in range(len(extent))]
        for number, place in enumerate(places[0].double()):
            turn = torch.matrix_exp(sum(p * a for p, a in zip(place, generators, strict=True)))
            for out, part in zip(wanted, (q, k), strict=True):
                out[0, head, number] = turn @ part[0, head, number].double()
    logits = [one @ other.mT for one, other in (wanted, [part.double() for part in found])]
    torch.testing.assert_close(logits[1], logits[0], atol=2e-5, rtol=0)


def _string_generator(encoding: Any, axis: int, head: int, width: int) -> Tensor:
    """A of one axis, by the definition."""
    matrix = torch.zeros(width, width, dtype=torch.float64)
    if encoding.kind == "circulant":
        row = encoding.rows[axis, 0, head].double()
        for i in range(width):
            for j in range(width):
                matrix[i, j] = row[(j - i) % width]
        return matrix - matrix.mT
    skew, shared = torch.zeros_like(matrix), encoding.shares[axis]
    entries = iter(encoding.entries[0, head].tolist())
    for i in range(width):
        for j in range(i):
            skew[i, j] = next(entries)
    skew = skew - skew.mT
    one = torch.eye(width, dtype=torch.float64)
    mixing = (one - skew) @ torch.linalg.inv(one + skew)
    first = sum(encoding.shares[axis + 1 :])
    for c in range(shared):
        pair = 2 * (first + c)
        matrix[pair + 1, pair] = encoding.base ** (-c / shared)
        matrix[pair, pair + 1] = -matrix[pair + 1, pair]
    found: Tensor = mixing @ matrix @ mixing.mT
    return found


@torch.no_grad()
def test_string_without_a_mixing_is_rope() -> None:
    geometry = Geometry(64, 4, 1, (24,))
    string, rope = (build_encoding(name, {}, geometry) for name in ("string", "rope"))
    q, k = (torch.randn(2, 4, 24, 16) for _ in range(2))
    found, wanted = (
        one.rotate(layer_inputs(one, q, k, q, tabulate(one, grid((24,)), Extrapolation((24,)))))
        for one in (string, rope)
    )
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
