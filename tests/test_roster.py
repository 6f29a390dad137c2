"""Each encoding computes what its definition says, by golden values or else by plain loops."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from references.golden_values import load
from scipy.linalg import expm
from torch import Tensor

from pebench.conformance import Subject, subjects
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.formulas.distance import by_distance, placed
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    StepRNG,
    TableInputs,
    grid,
    layer_inputs,
    tabulate,
)

COUNT, HEADS, WIDTH, LAYER = 14, 4, 16, 1
"""Tokens, heads, channels of a head, and the layer looked at."""

Cell = Callable[[int, int, int], float]
"""The bias of a head, a query and a key, by their numbers."""


class Inputs:
    """Random queries, keys and hidden states of one sequence, and positions with gaps."""

    def __init__(self, subject: Subject) -> None:
        generator = torch.Generator().manual_seed(0)
        self.q, self.k = (torch.randn(1, HEADS, COUNT, WIDTH, generator=generator) for _ in range(2))
        self.hidden = torch.randn(1, COUNT, HEADS * WIDTH, generator=generator)
        self.positions, self.reach = subject.scattered(COUNT)
        self.i = self.positions[0].squeeze(-1).tolist()

    def layer(self, encoding: PositionEncoding) -> AttentionInputs:
        """What the hooks of a layer get."""
        table = tabulate(encoding, self.positions, self.reach)
        return layer_inputs(encoding, self.q, self.k, self.hidden, table, LAYER)

    def bias(self, encoding: PositionEncoding) -> Bias:
        """Of all queries against all keys."""
        bias = encoding.bias(self.layer(encoding))
        assert bias is not None
        return bias

    def product(self, head: int, query: int, key: int) -> float:
        """q·k, unscaled."""
        return float(self.q[0, head, query].double() @ self.k[0, head, key].double())


def _examined(subject: Subject) -> tuple[Any, Inputs]:
    """The encoding with random parameters, and inputs for it."""
    return subject.encoding(), Inputs(subject)


def _built(name: str, options: Mapping[str, Any], geometry: Geometry, seed: int = 0) -> Any:
    """An encoding whose parameters can be named without a word about their types."""
    return build_encoding(name, options, geometry, seed)


def _values(bias: Bias) -> Tensor:
    """(H, N, N) float64; of a bias that depends on the key alone, up to what is constant along a row."""
    if isinstance(bias, Factored):
        assert bias.query is None
        return bias.key.sum(-1)[0, :, None].double().expand(-1, COUNT, -1)
    visible = torch.ones(COUNT, COUNT, dtype=torch.bool).tril()[None, None]
    whole = bias.values(Block(slice(0, COUNT), slice(0, COUNT), visible))
    parts = [
        bias.values(Block(slice(start, stop), slice(0, stop), visible[:, :, start:stop, :stop]))
        for start, stop in ((0, 5), (5, 6), (6, COUNT))
    ]
    for start, part in zip((0, 5, 6), parts, strict=True):
        torch.testing.assert_close(part, whole[:, :, start : start + part.shape[2], : part.shape[3]])
    return whole[0].double()


def _assert_is(bias: Bias, wanted: Cell) -> None:
    """Compares where causal attention looks, each row relative to the query's own position."""
    found = _values(bias)
    for head in range(HEADS):
        for i in range(COUNT):
            for j in range(i + 1):
                relative = float(found[head, i, j] - found[head, i, i])
                assert relative == pytest.approx(wanted(head, i, j) - wanted(head, i, i), abs=2e-5), (
                    head,
                    i,
                    j,
                )


def _at_least(parameter: Tensor, low: float = 0.01) -> list[float]:
    return [max(float(value), low) for value in parameter]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _layer_output(layer: torch.nn.Module, x: list[float]) -> list[float]:
    assert isinstance(layer, torch.nn.Linear)
    weight: list[list[float]] = layer.weight.tolist()
    bias = layer.bias.tolist() if layer.bias is not None else [0.0] * len(weight)
    return [
        b + sum(w * value for w, value in zip(row, x, strict=True))
        for row, b in zip(weight, bias, strict=True)
    ]


@torch.no_grad()
def test_parameters_start_as_the_sources_say() -> None:
    geometry = Geometry(64, 4, 3, (24,))
    kerple, fire, fox, cable, cope = (
        _built(name, {}, geometry) for name in ("kerple", "fire", "fox", "cable", "cope")
    )
    assert ((kerple.p >= 0) & (kerple.p <= 2)).all()
    assert ((kerple.a >= 0) & (kerple.a <= 1)).all()
    assert [float(f.c) for f in fire.functions] == pytest.approx([0.1] * 3)
    assert [float(f.threshold()) for f in fire.functions] == [512.0] * 3
    assert len(_built("fire", {"shared": True}, geometry).functions) == 1
    for linear in (*fox.gates, *cable.steps):
        assert not linear.bias.any()
        assert 0 < linear.weight.std() < 0.03
    assert (_built("fox", {"gate_bias": 5}, geometry).gates[0].bias == 5).all()
    assert _built("cable", {"bias": False}, geometry).steps[0].bias is None
    assert cope.vectors.shape == (3, 64, 16)
    assert not cope.vectors.any()
    assert float(_built("t5", {"std": 0.125}, geometry).biases.std()) == pytest.approx(0.125, rel=0.3)


def test_logits_are_scaled_as_the_sources_say() -> None:
    geometry = Geometry(64, 4, 1, (24,))
    wanted = {"cable": (1.0, {"scaled": True}, 0.25), "t5": (0.25, {"scaled": False}, 1.0)}
    for name, (default, options, other) in wanted.items():
        assert _built(name, {}, geometry).scale() == default
        assert _built(name, options, geometry).scale() == other


@pytest.mark.parametrize(("extent", "share"), [(512, "25%"), (256, "50%"), (100, "128%")])
@torch.no_grad()
def test_constants_follow_the_trained_extent(extent: int, share: str) -> None:
    geometry = Geometry(64, 4, 1, (extent,))
    assert _built("t5", {"max_distance": share}, geometry).max_distance == 128
    assert float(_built("fire", {"threshold": share}, geometry).functions[0].threshold()) == 128
    assert _built("xpos", {"scale_base": share}, geometry).scale_base == 128
    assert _built("cope", {"p_max": share}, geometry).vectors.shape == (1, 128, 16)


def test_a_share_of_nothing_and_one_that_leaves_no_distance_are_refused() -> None:
    geometry = Geometry(64, 4, 1, (24,))
    with pytest.raises(UserError, match="its first 16 distances have a bucket each"):
        _built("t5", {"max_distance": "50%"}, geometry)
    for value in ("0%", "half", "-5%", 0, True, [1]):
        with pytest.raises(UserError, match="option 'threshold': it is a number above 0, or a share of"):
            _built("fire", {"threshold": value}, geometry)
    with pytest.raises(UserError, match="option 'p_max': it is a whole number above 0, or a share of"):
        _built("cope", {"p_max": 2.5}, geometry)
    with pytest.raises(UserError, match="'p_max' is from 2 to 1,000,000, not 1"):
        _built("cope", {"p_max": "4%"}, geometry)


@pytest.mark.parametrize("causal", [True, False])
def test_t5_has_as_many_buckets_as_asked_for(causal: bool) -> None:
    encoding = _built("t5", {"buckets": 8, "max_distance": 20}, Geometry(16, 2, 1, (64,), causal=causal))
    assert encoding.biases.shape == (2, 8)
    found = encoding._bucket(torch.arange(-40, 41)).tolist()
    assert set(found) == set(range(8)) - (set() if causal else {4})
    assert found[-1] == found[40 + 20] == (7 if causal else 3)
    assert found[40 + 19] == (7 if causal else 3)
    assert [found[40 + n] for n in range(3)] == [0, 1, 2]


@torch.no_grad()
def test_kerple_log() -> None:
    subject = Subject("kerple", 1, True)
    encoding, inputs = _examined(subject)
    p, a = _at_least(encoding.p), _at_least(encoding.a)
    _assert_is(
        inputs.bias(encoding), lambda h, i, j: -p[h] * math.log(1 + a[h] * (inputs.i[i] - inputs.i[j]))
    )


@torch.no_grad()
def test_kerple_power() -> None:
    subject = Subject("kerple", 1, True, {"kind": "power"})
    encoding, inputs = _examined(subject)
    p, a = [min(value, 2.0) for value in _at_least(encoding.p)], _at_least(encoding.a)
    _assert_is(inputs.bias(encoding), lambda h, i, j: -a[h] * (inputs.i[i] - inputs.i[j]) ** p[h])


@pytest.mark.parametrize("kind", ["log", "power"])
def test_kerple_keeps_its_parameters_within_their_bounds_and_lets_them_come_back(kind: str) -> None:
    subject = Subject("kerple", 1, True, {"kind": kind})
    encoding, inputs = _examined(subject)
    with torch.no_grad():
        encoding.p.copy_(torch.tensor([-3.0, 0.0, 5.0 if kind == "power" else 1.0, 1.0]))
        encoding.a.fill_(-1.0)
    found = _values(inputs.bias(encoding))
    with torch.no_grad():
        encoding.p.copy_(torch.tensor([0.01, 0.01, 2.0 if kind == "power" else 1.0, 1.0]))
        encoding.a.fill_(0.01)
    torch.testing.assert_close(found, _values(inputs.bias(encoding)))
    for gradient in torch.autograd.grad(found.sum(), (encoding.p, encoding.a)):
        assert gradient.all()


@pytest.mark.parametrize("multiplier", [1.0, -1.0, 0.02], ids=["near", "negative", "beyond"])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@torch.no_grad()
def test_fire(shared: bool, multiplier: float) -> None:
    subject = Subject("fire", 1, True, {"shared": shared})
    encoding, inputs = _examined(subject)
    function = encoding.functions[0 if shared else LAYER]
    function.multiplier.fill_(multiplier)
    threshold, c = abs(512 * multiplier), float(function.c)
    assert any(i > threshold for i in inputs.i) == (multiplier == 0.02)

    def psi(x: float) -> float:
        return math.log(abs(c * x) + 1)

    def wanted(head: int, i: int, j: int) -> float:
        relative = psi(inputs.i[i] - inputs.i[j]) / (psi(max(threshold, inputs.i[i])) + 1e-6)
        inner = [max(value, 0.0) for value in _layer_output(function.network[0], [relative])]
        return _layer_output(function.network[2], inner)[head]

    _assert_is(inputs.bias(encoding), wanted)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("p_max", [3, 64])
@torch.no_grad()
def test_cope(p_max: int, scaled: bool) -> None:
    subject = Subject("cope", 1, True, {"p_max": p_max, "scaled_gates": scaled})
    encoding, inputs = _examined(subject)
    vectors = encoding.vectors[LAYER].double()
    assert len(vectors) == p_max
    scale = WIDTH**-0.5 if scaled else 1.0

    def wanted(head: int, i: int, j: int) -> float:
        gates = (_sigmoid(inputs.product(head, i, t) * scale) for t in range(j, i + 1))
        count = min(sum(gates), p_max - 1)
        below, above = math.floor(count), math.ceil(count)
        vector = vectors[below] + (count - below) * (vectors[above] - vectors[below])
        return float(inputs.q[0, head, i].double() @ vector)

    _assert_is(inputs.bias(encoding), wanted)
    assert max(wanted(0, i, i) for i in range(COUNT)) != 0


@pytest.mark.parametrize("p_max", [3, 64])
def test_cope_counts_in_parts_what_it_counts_at_once(p_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients, where counts reach their bound and where they do not."""
    encoding = _built("cope", {"p_max": p_max}, Geometry(32, 2, 1, (60,)))
    with torch.no_grad():
        encoding.vectors.normal_()
    q, k = (torch.randn(2, 2, 60, 16).requires_grad_() for _ in range(2))
    weights = torch.randn(2, 2, 10, 60).tril(50)
    inputs = layer_inputs(encoding, q, k, q, tabulate(encoding, grid((60,)), Extrapolation((60,))))
    last, every = slice(50, 60), slice(0, 60)
    found, looked_at = [], []
    module = sys.modules[type(encoding).__module__]
    between = module._between
    for at_once in (7, 60):
        seen: list[int] = []
        monkeypatch.setattr(module, "KEYS_AT_ONCE", at_once)

        def counted(count: Tensor, products: Tensor, seen: list[int] = seen) -> Tensor:
            seen.append(count.shape[-1])
            interpolated: Tensor = between(count, products)
            return interpolated

        monkeypatch.setattr(module, "_between", counted)
        values = encoding.bias(inputs).values(Block(last, every, inputs.mask.visible(last, every)))
        gradients = torch.autograd.grad((values * weights).sum(), (q, k, encoding.vectors))
        found.append((values * weights, *gradients))
        looked_at.append(sum(seen))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
    assert looked_at[1] == 60
    assert (looked_at[0] < 60) == (p_max == 3), "keys beyond the bound of all counts need no look"


@torch.no_grad()
def test_fox() -> None:
    subject = Subject("fox", 1, True)
    encoding, inputs = _examined(subject)
    gates = [_layer_output(encoding.gates[LAYER], x) for x in inputs.hidden[0].tolist()]

    def c(head: int, i: int) -> float:
        return sum(math.log(_sigmoid(gates[t][head])) for t in range(i + 1))

    _assert_is(inputs.bias(encoding), lambda h, i, j: c(h, i) - c(h, j))


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_cable(bias: bool) -> None:
    subject = Subject("cable", 1, True, {"bias": bias})
    encoding, inputs = _examined(subject)
    steps = [_layer_output(encoding.steps[LAYER], x) for x in inputs.hidden[0].tolist()]

    def s(head: int, i: int) -> float:
        return sum(-math.log1p(math.exp(steps[t][head])) for t in range(i + 1))

    _assert_is(inputs.bias(encoding), lambda h, i, j: s(h, i) - s(h, j))


@torch.no_grad()
def test_sums_over_many_tokens_keep_the_difference_between_neighbours() -> None:
    encoding = _built("cable", {}, Geometry(16, 2, 1, (64,)))
    hidden = torch.randn(1, 30_000, 16, generator=torch.Generator().manual_seed(0))
    bias = encoding.bias(layer_inputs(encoding, hidden, hidden, hidden, None, 0))
    assert isinstance(bias, Factored)
    steps = torch.nn.functional.softplus(encoding.steps[0](hidden))[0].T.double()
    torch.testing.assert_close(bias.key[0, :, :, 0].diff(), steps[:, 1:], atol=1e-7, rtol=0)


@torch.no_grad()
def test_dape() -> None:
    subject = Subject("dape", 1, True)
    encoding, inputs = _examined(subject)
    network = encoding.networks[LAYER]
    p, a = _at_least(encoding.p[LAYER]), _at_least(encoding.a[LAYER])

    def wanted(head: int, i: int, j: int) -> float:
        logits = [inputs.product(h, i, j) / math.sqrt(WIDTH) for h in range(HEADS)]
        prior = [-p[h] * math.log(1 + a[h] * (inputs.i[i] - inputs.i[j])) for h in range(HEADS)]
        inner = [max(x, 0.01 * x) for x in _layer_output(network[0], logits + prior)]
        return prior[head] + _layer_output(network[2], inner)[head]

    _assert_is(inputs.bias(encoding), wanted)


def _zeta(c: int) -> float:
    return (2 * c / WIDTH + 0.4) / 1.4


@torch.no_grad()
def test_xpos() -> None:
    subject = Subject("xpos", 1, True)
    encoding, inputs = _examined(subject)
    q, k = encoding.rotate(inputs.layer(encoding))
    for head in range(HEADS):
        for i in range(COUNT):
            for j in range(i + 1):
                distance, wanted = inputs.i[i] - inputs.i[j], 0.0
                for c in range(WIDTH // 2):
                    x = complex(*inputs.q[0, head, i, 2 * c : 2 * c + 2].tolist())
                    y = complex(*inputs.k[0, head, j, 2 * c : 2 * c + 2].tolist())
                    angle = distance * 10000 ** (-2 * c / WIDTH)
                    turned = x * complex(math.cos(angle), math.sin(angle)) * y.conjugate()
                    wanted += _zeta(c) ** (distance / 512) * turned.real
                assert float(q[0, head, i] @ k[0, head, j]) == pytest.approx(wanted, abs=1e-4)


@torch.no_grad()
def test_xpos_factors_stay_finite_up_to_its_limit() -> None:
    encoding = _built("xpos", {}, Geometry(64, 4, 1, (64,)))
    limit = encoding.limit()
    assert limit == 65_536
    ends = torch.tensor([[[0], [limit - 1]]])
    table = tabulate(encoding, ends, Extrapolation((limit,)))
    large = torch.full((1, 4, 2, 16), 100.0)
    q, k = encoding.rotate(layer_inputs(encoding, large, large, large, table, 0))
    assert q.isfinite().all()
    assert k.isfinite().all()
    torch.testing.assert_close((q * k).sum(-1), torch.full((1, 4, 2), 160_000.0))


def _rotated(encoding: PositionEncoding, golden: dict[str, np.ndarray], layer: int) -> list[Tensor]:
    table = tabulate(encoding, torch.from_numpy(golden["positions_2d"])[None], Extrapolation((7, 7)))
    q, k = (torch.from_numpy(golden[key]) for key in ("q_2d", "k_2d"))
    return list(encoding.rotate(layer_inputs(encoding, q, k, q, table, layer)))


def test_rope_axial_has_the_golden_values() -> None:
    golden = load("rotary")
    found = _rotated(_built("rope-axial", {}, Geometry(16, 2, 1, (7, 7))), golden, 0)
    for turned, key in zip(found, ("q_axial_theta100", "k_axial_theta100"), strict=True):
        torch.testing.assert_close(turned, torch.from_numpy(golden[key]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rope_mixed_has_the_golden_values() -> None:
    golden = load("rotary")
    encoding = _built("rope-mixed", {}, Geometry(16, 2, 3, (7, 7)))
    encoding.frequencies.copy_(torch.from_numpy(golden["mixed_freqs"]).view_as(encoding.frequencies))
    for turned, key in zip(_rotated(encoding, golden, 1), ("q_mixed_layer1", "k_mixed_layer1"), strict=True):
        torch.testing.assert_close(turned, torch.from_numpy(golden[key]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rope_mixed_starts_along_two_directions_at_right_angles() -> None:
    geometry = Geometry(64, 4, 3, (4, 6))
    x, y = _built("rope-mixed", {}, geometry, seed=3).frequencies.double()
    lengths = [10 ** (-4 * (c % 4) / 16) for c in range(8)]
    torch.testing.assert_close(torch.hypot(x, y), torch.tensor(lengths).double().expand(3, 4, 8))
    torch.testing.assert_close(x[..., :4], y[..., 4:], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(y[..., :4], -x[..., 4:], atol=1e-6, rtol=1e-6)
    directions = torch.atan2(y, x)[..., 0].flatten()
    assert len(set(directions.tolist())) == 12
    assert sum(p.numel() for p in _built("rope-mixed", {}, geometry).parameters()) == 3 * 64


@pytest.mark.parametrize("inclusive", [True, False], ids=["ends", "units"])
@pytest.mark.parametrize("block", [2, 4, 8, 16])
@pytest.mark.parametrize("axes", [1, 2, 3])
@torch.no_grad()
def test_liere(axes: int, block: int, inclusive: bool) -> None:
    options = {"block": block, "inclusive": inclusive}
    subject = next(subjects("liere", options)) if axes == 1 else Subject("liere", axes, False, options)
    encoding, inputs = _examined(subject)
    q, k = encoding.rotate(inputs.layer(encoding))
    for head in range(HEADS):
        for number in range(WIDTH // block):
            part = slice(number * block, (number + 1) * block)
            generators = []
            for axis, size in enumerate(subject.geometry.extent):
                generator = np.zeros((block, block))
                entries = iter(encoding.entries[axis, LAYER, head, number].tolist())
                for row in range(block):
                    for column in range(row):
                        generator[row, column] = next(entries) / (size - 1 if inclusive else size)
                generators.append(generator - generator.T)
            for i, position in enumerate(inputs.positions[0].tolist()):
                rotation = torch.from_numpy(
                    expm(sum(p * a for p, a in zip(position, generators, strict=True)))
                )
                for found, given in ((q, inputs.q), (k, inputs.k)):
                    wanted = rotation @ given[0, head, i, part].double()
                    torch.testing.assert_close(found[0, head, i, part].double(), wanted, atol=1e-4, rtol=1e-4)


def test_liere_gradients_are_those_of_the_exponential() -> None:
    encoding = _built("liere", {}, Geometry(16, 2, 1, (24,)))
    positions, reach = torch.tensor([[[0], [1], [5], [700]]]), Extrapolation((701,))
    q = torch.randn(1, 2, 4, 8, dtype=torch.float64)
    weight = torch.randn_like(q)
    turned, _ = encoding.rotate(layer_inputs(encoding, q, q, q, tabulate(encoding, positions, reach), 0))
    (found,) = torch.autograd.grad((turned * weight).sum(), encoding.entries)
    generator = encoding._generators(0)[0, :, 0]
    rotation = torch.matrix_exp(positions[0, :, 0, None, None, None] / 23 * generator)
    plain = torch.einsum("nhcd,bhnd->bhnc", rotation, q)
    (wanted,) = torch.autograd.grad((plain * weight).sum(), encoding.entries)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("block", [2, 8, 16])
def test_liere_turns_many_texts_as_each_by_itself(block: int) -> None:
    encoding = _built("liere", {"block": block}, Geometry(32, 2, 1, (24,)))
    table = tabulate(encoding, grid((30,)), Extrapolation((30,)))
    q, k = torch.randn(2, 7, 2, 30, 16)
    weights = torch.randn(2, 7, 2, 30, 16)

    def gradient(turned: tuple[Tensor, ...]) -> Tensor:
        found: Tensor = torch.autograd.grad((torch.stack(turned) * weights).sum(), encoding.entries)[0]
        return found

    together = encoding.rotate(layer_inputs(encoding, q, k, q, table, 0))
    alone = [
        encoding.rotate(layer_inputs(encoding, q[[text]], k[[text]], q[[text]], table, 0))
        for text in range(len(q))
    ]
    joined = tuple(torch.cat(parts) for parts in zip(*alone, strict=True))
    torch.testing.assert_close(together, joined, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient(together), gradient(joined), atol=1e-3, rtol=1e-4)
    assert all(x.stride(-1) == 1 for x in together), "fused attention wants the channels last"


# The compiler looks at the gradients of what it is given, and is warned of those that there are not.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("axes", [1, 2])
def test_liere_in_training_turns_as_in_evaluation(axes: int, compiled: bool) -> None:
    extent = (24,) if axes == 1 else (4, 6)
    encoding = _built("liere", {}, Geometry(32, 2, 3, extent, causal=axes == 1))
    reach = Extrapolation(extent)
    q, k = torch.randn(2, 5, 2, 24, 16)
    weights = torch.randn(2, 5, 2, 24, 16)
    tables = [tabulate(encoding, grid(extent), reach, rng=rng) for rng in (None, StepRNG(0, 0))]
    assert [type(table).__name__ for table in tables] == ["Tensor", "Rotations"]
    found = []
    for table in tables:
        rotate = torch.compile(encoding.rotate, backend="eager") if compiled else encoding.rotate
        turned = torch.stack(rotate(layer_inputs(encoding, q, k, q, table, 2)))
        found.append((turned, torch.autograd.grad((turned * weights).sum(), encoding.entries)[0]))
    (one, gradient), (other, other_gradient) = found
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, other_gradient, atol=1e-3, rtol=1e-4)


CENTRES: dict[int, list[list[float]]] = {
    180: [[90, 180, 270, 0]],
    90: [[45, 135, 225, 315], [90, 180, 270, 0]],
    45: [[22.5, 112.5, 157.5, 247.5], [67.5, 202.5, 292.5, 337.5]],
}
"""Where the heads of each group of four look, in degrees, from the right by way of upwards."""


@pytest.mark.parametrize("view", [45, 90, 180])
@pytest.mark.parametrize(("heads", "directed"), [(4, 4), (6, 4), (8, 4), (12, 8), (16, 12)])
@torch.no_grad()
def test_lookhere(heads: int, directed: int, view: int) -> None:
    encoding = _built("lookhere", {"view": view, "slope": 0.5}, Geometry(8 * heads, heads, 3, (4, 5)))
    cells, nothing = grid((4, 5)), torch.empty(1, 1, 20, 0)
    table = tabulate(encoding, cells, Extrapolation((4, 5)))
    for layer, factor in enumerate((0.75, 0.5, 0.25)):
        bias = encoding.bias(layer_inputs(encoding, nothing, nothing, nothing, table, layer))
        assert isinstance(bias, Dense)
        found = bias.values(Block(slice(0, 20), slice(0, 20), torch.ones(1, 1, 20, 20, dtype=torch.bool)))[0]
        for head in range(heads):
            turn, group = divmod(head // 4, len(CENTRES[view]))
            slope = 0.5**turn if head < directed else [1 / 2, 1 / 8, 1 / 32, 1 / 128][head - directed]
            for i, (row, column) in enumerate(cells[0].tolist()):
                for j, (other_row, other_column) in enumerate(cells[0].tolist()):
                    down, right = other_row - row, other_column - column
                    wanted = -factor * slope * math.hypot(down, right)
                    if head < directed and (down or right):
                        off = math.degrees(math.atan2(-down, right)) - CENTRES[view][group][head % 4]
                        if abs((off + 180) % 360 - 180) > view / 2 + 1e-6:
                            wanted = -math.inf
                    assert float(found[head, i, j]) == pytest.approx(wanted, abs=1e-5)


def test_lookhere_refuses_heads_that_cannot_look_everywhere() -> None:
    with pytest.raises(Exception, match="3 heads cannot look in four directions"):
        _built("lookhere", {}, Geometry(24, 3, 1, (4, 4)))


def test_a_bias_by_distance_is_computed_once_for_each_distance() -> None:
    query, key = torch.tensor([[[7], [12]]]), torch.tensor([[[3], [7], [12]], [[0], [0], [12]]])
    asked: list[Tensor] = []

    def curve(distance: Tensor) -> Tensor:
        asked.append(distance)
        return torch.stack((distance, distance**2)).float()

    bias = by_distance(
        curve, *(placed(TableInputs(at, Extrapolation((13,)), at.device)) for at in (query, key))
    )
    found = bias.values(Block(slice(0, 2), slice(0, 3), torch.ones(1, 1, 2, 3, dtype=torch.bool)))
    distance = query[:, None].float() - key[:, None].float().transpose(2, 3)
    torch.testing.assert_close(found, torch.cat((distance, distance**2), dim=1))
    assert [x.tolist() for x in asked] == [list(range(-12, 13))]


@pytest.mark.parametrize("name", ["kerple", "fire", "cope", "dape", "lookhere"])
@torch.no_grad()
def test_biases_are_exact_under_bfloat16(name: str) -> None:
    """Of bfloat16 queries and keys the bias is that of the same values in float32."""
    subject = next(subjects(name))
    encoding, inputs = _examined(subject)
    for kind in ("q", "k", "hidden"):
        setattr(inputs, kind, getattr(inputs, kind).bfloat16())
    half = _values(inputs.bias(encoding))
    for kind in ("q", "k", "hidden"):
        setattr(inputs, kind, getattr(inputs, kind).float())
    torch.testing.assert_close(half, _values(inputs.bias(encoding)))


@pytest.mark.parametrize("name", ["fox", "cable"])
@torch.no_grad()
def test_all_but_the_product_with_the_content_is_exact_under_bfloat16(name: str) -> None:
    encoding, inputs = _examined(next(subjects(name)))
    inputs.q, inputs.k = inputs.q.bfloat16(), inputs.k.bfloat16()
    linear = (encoding.gates if name == "fox" else encoding.steps)[LAYER]
    product = F.linear(inputs.hidden.bfloat16(), linear.weight.bfloat16()).double() + linear.bias.double()
    steps = F.logsigmoid(product) if name == "fox" else -F.softplus(product)
    wanted = -steps.transpose(1, 2).cumsum(-1)[0, :, None].expand(-1, COUNT, -1)
    torch.testing.assert_close(_values(inputs.bias(encoding)), wanted, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", ["xpos", "rope-axial", "rope-mixed", "liere"])
@torch.no_grad()
def test_rotations_are_exact_under_bfloat16(name: str) -> None:
    subject = next(subjects(name))
    encoding, inputs = _examined(subject)
    table = tabulate(encoding, inputs.positions, inputs.reach)
    q, k, hidden = inputs.q.bfloat16(), inputs.k.bfloat16(), inputs.hidden
    half = encoding.rotate(layer_inputs(encoding, q, k, hidden, table, LAYER))
    full = encoding.rotate(layer_inputs(encoding, q.float(), k.float(), hidden, table, LAYER))
    for found, wanted in zip(half, full, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, wanted.bfloat16())
