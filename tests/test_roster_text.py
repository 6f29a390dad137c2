"""The encodings of text compute what their definitions say, by plain loops in float64."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pebench.conformance import IDENTITIES, Subject
from pebench.encoding_config import build_encoding
from pebench.formulas.decay import decayed_products
from pebench.position_encoding import (
    AttentionInputs,
    Block,
    Dense,
    Factored,
    Geometry,
    PositionEncoding,
    layer_inputs,
    tabulate,
)

COUNT, HEADS, WIDTH, LAYER = 14, 4, 16, 1
"""Tokens, heads, channels of a head, and the layer looked at."""

SLOPES = [2.0 ** (-2 * h) for h in range(1, HEADS + 1)]


def _examined(
    name: str, options: Mapping[str, object] | None = None
) -> tuple[Any, AttentionInputs, list[int]]:
    """The encoding with random parameters, inputs of a layer for it, and their positions, with gaps."""
    subject = Subject(name, 1, True, options or {})
    encoding, (positions, reach) = subject.encoding(), subject.scattered(COUNT)
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, HEADS, COUNT, WIDTH, generator=draw) for _ in range(2))
    hidden = torch.randn(1, COUNT, HEADS * WIDTH, generator=draw)
    x = layer_inputs(encoding, q, k, hidden, tabulate(encoding, positions, reach), LAYER)
    return encoding, x, positions[0, :, 0].tolist()


def _logits(encoding: PositionEncoding, x: AttentionInputs) -> Tensor:
    """(H, N, N) float64 scaled logits with the bias, each row less that of the own key; a dense bias is asked
    for in blocks too."""
    q, k = encoding.rotate(x)
    logits = q[0].double() @ k[0].double().mT * encoding.scale()
    match encoding.bias(x._replace(q=q, k=k)):
        case Dense(values=values):
            visible = x.mask.visible(slice(0, COUNT), slice(0, COUNT))
            whole = values(Block(slice(0, COUNT), slice(0, COUNT), visible))
            for start, stop in ((0, 5), (5, 6), (6, COUNT)):
                part = values(Block(slice(start, stop), slice(0, stop), visible[:, :, start:stop, :stop]))
                torch.testing.assert_close(part.tril(start), whole[:, :, start:stop, :stop].tril(start))
            logits = logits + whole[0].double()
        case Factored(key=key, query=query):
            assert query is not None
            logits = logits + (query.double() @ key.double().mT)[0]
    relative: Tensor = logits - logits.diagonal(dim1=-2, dim2=-1)[..., None]
    return relative


def _assert_logits(encoding: PositionEncoding, x: AttentionInputs, wanted: Tensor) -> None:
    """Compares with (H, N, N) where causal attention looks, each row relative to the own key."""
    relative = wanted - wanted.diagonal(dim1=-2, dim2=-1)[..., None]
    torch.testing.assert_close(_logits(encoding, x).tril(), relative.tril(), atol=3e-5, rtol=1e-5)


def _double(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    """A linear map in float64."""
    bias = None if layer.bias is None else layer.bias.double()
    return F.linear(x.double(), layer.weight.double(), bias)


def _products(x: AttentionInputs) -> Tensor:
    """(H, N, N) float64 q·k/√d."""
    products: Tensor = x.q[0].double() @ x.k[0].double().mT / WIDTH**0.5
    return products


def _turned_logits(x: AttentionInputs, angle: Any) -> Tensor:
    """(H, N, N) q·k/√d where the pair (2c, 2c+1) of the token t turns by angle(h, t, c)."""
    wanted = torch.zeros(HEADS, COUNT, COUNT, dtype=torch.float64)
    for h in range(HEADS):
        for c in range(WIDTH // 2):
            q, k = (
                [
                    complex(*part[0, h, t, 2 * c : 2 * c + 2].tolist()) * cmath.exp(1j * angle(h, t, c))
                    for t in range(COUNT)
                ]
                for part in (x.q, x.k)
            )
            for i in range(COUNT):
                for j in range(COUNT):
                    wanted[h, i, j] += (q[i] * k[j].conjugate()).real / math.sqrt(WIDTH)
    return wanted


@pytest.mark.parametrize("options", [{}, {"rotated": 0.5, "phase": "uniform"}], ids=str)
@torch.no_grad()
def test_pope(options: dict[str, object]) -> None:
    encoding, x, places = _examined("pope", options)
    turning = 8 if options else WIDTH
    wanted = torch.zeros(HEADS, COUNT, COUNT, dtype=torch.float64)
    for h in range(HEADS):
        for i in range(COUNT):
            for j in range(COUNT):
                q, k = x.q[0, h, i].double(), x.k[0, h, j].double()
                wanted[h, i, j] = q[turning:] @ k[turning:] / math.sqrt(WIDTH)
                for c in range(turning):
                    delta = min(max(float(encoding.phases[LAYER, h, c]), -2 * math.pi), 0.0)
                    cosine = math.cos((places[j] - places[i]) * 10000 ** (-c / turning) + delta)
                    wanted[h, i, j] += float(F.softplus(q[c]) * F.softplus(k[c])) * cosine / math.sqrt(WIDTH)
    _assert_logits(encoding, x, wanted)


@torch.no_grad()
def test_pope_turns_class_tokens_by_nothing() -> None:
    encoding: Any = build_encoding("pope", {}, Geometry(64, 4, 1, (2, 3), causal=False, prefix_tokens=2))
    cosine, sine = encoding.prefix_table()
    assert cosine.shape == sine.shape == (1, 2, WIDTH)
    assert (cosine == 1).all()
    assert not sine.any()


@torch.no_grad()
def test_repo_is_rope_below_its_start_and_reads_places_above() -> None:
    encoding, x, places = _examined("repo", {"start": 1})
    reader = encoding.readers[LAYER - 1]
    inner = F.silu(_double(reader.gate, x.hidden)) * _double(reader.content, x.hidden)
    z = _double(reader.heads, inner)[0].tolist()
    _assert_logits(encoding, x, _turned_logits(x, lambda h, t, c: z[t][h] * 10000 ** (-2 * c / WIDTH)))
    rope = _turned_logits(x, lambda h, t, c: places[t] * 10000 ** (-2 * c / WIDTH))
    _assert_logits(encoding, x._replace(layer=0), rope)


@torch.no_grad()
def test_repo_starts_above_a_third_of_the_layers() -> None:
    starts = {
        layers: build_encoding("repo", {}, Geometry(32, 2, layers, (8,))).start for layers in (1, 3, 16)
    }
    assert starts == {1: 0, 3: 1, 16: 5}
    for width in (64, 1024):
        built: Any = build_encoding("repo", {"start": 0}, Geometry(width, 16, 1, (8,)))
        deviation = built.readers[0].gate.weight.std() * math.sqrt(width / 2048)
        assert float(deviation) == pytest.approx(0.02, rel=0.1)
    with pytest.raises(Exception, match="start 3 leaves none of 3 layers"):
        build_encoding("repo", {"start": 3}, Geometry(32, 2, 3, (8,)))


@pytest.mark.parametrize("per_head", [False, True])
@torch.no_grad()
def test_grape_m(per_head: bool) -> None:
    encoding, x, places = _examined("grape-m", {"per_head": per_head})
    rates = (encoding.log_frequencies[LAYER].double() / 16).exp()
    wanted = _turned_logits(x, lambda h, t, c: -places[t] * float(rates[h if per_head else 0, c]))
    _assert_logits(encoding, x, wanted)


@torch.no_grad()
def test_grape_m_by_content() -> None:
    encoding, x, _ = _examined("grape-m", {"content": True})
    rates = (encoding.log_frequencies[LAYER].double() / 16).exp()
    steps = (_double(encoding.gates[LAYER], x.hidden) / 16).sigmoid()[0]
    wanted = _turned_logits(x, lambda h, t, c: -float(steps[:t, h].sum() * rates[0, c]))
    _assert_logits(encoding, x, wanted)


@torch.no_grad()
def test_grape_m_starts_as_rope_turned_the_other_way() -> None:
    geometry = Geometry(64, 4, 2, (24,))
    rope, grape = build_encoding("rope", {}, geometry), build_encoding("grape-m", {}, geometry)
    _, x, _ = _examined("rope")
    found = grape.rotate(x._replace(q_table=_examined("grape-m")[1].q_table))
    backwards = rope.rotate(x._replace(q_table=(x.q_table[0], -x.q_table[1])))
    torch.testing.assert_close(found, backwards, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
@torch.no_grad()
def test_carope(first: int) -> None:
    encoding, x, _ = _examined("carope", {"first_exponent": first})
    f = 1 / (1 + F.softplus(_double(encoding.steps[LAYER], x.hidden)[0]))
    wanted = _turned_logits(x, lambda h, t, c: float((f[: t + 1, h] ** (c + first)).sum()))
    _assert_logits(encoding, x, wanted)


@pytest.mark.parametrize("convolution", [4, None])
@pytest.mark.parametrize("more", [False, True], ids=["plain", "gate and constant"])
@torch.no_grad()
def test_selective_rope(convolution: int | None, more: bool) -> None:
    options = {"convolution": convolution, "gate": more, "constant": more}
    encoding, x, _ = _examined("selective-rope", options)
    reader: Any = encoding.readers[LAYER]
    half = WIDTH // 2
    slices = x.hidden[0].double().view(COUNT, HEADS, WIDTH)
    unit = (slices / (slices.square().sum(-1, keepdim=True) + 1e-6).sqrt()).flatten(1)
    phi = _double(reader.up, _double(reader.down, unit)).tolist()
    filters = [[-1.0, 1.0]] * (HEADS * half) if convolution is None else reader.filters.tolist()
    gates = _double(reader.gate, unit).sigmoid().tolist() if more else [[1.0] * HEADS] * COUNT
    constant = reader.constant.double().exp().tolist() if more else [[0.0] * half] * HEADS

    def step(h: int, t: int, c: int) -> float:
        taps = filters[h * half + c]
        past = [phi[s][h * half + c] if s >= 0 else 0.0 for s in range(t - len(taps) + 1, t + 1)]
        swept = sum(w * y for w, y in zip(taps, past, strict=True))
        return float(gates[t][h] * (swept + constant[h][c]))

    def angle(h: int, t: int, c: int) -> float:
        return float(500_000 ** (-2 * c / WIDTH)) * sum(step(h, s, c) for s in range(t + 1))

    _assert_logits(encoding, x, _turned_logits(x, angle))
    if convolution is None and not more:
        assert angle(2, 9, 3) == pytest.approx(500_000 ** (-6 / WIDTH) * phi[9][2 * half + 3])


def test_selective_rope_has_temperatures_that_grow_with_the_tangent() -> None:
    encoding: Any = build_encoding("selective-rope", {"temperature": "rfa"}, Geometry(32, 2, 2, (8,)))
    wanted = [math.tan(0.995 * math.pi * c / 7 / 2) / math.tan(0.995 * math.pi / 2) for c in range(8)]
    torch.testing.assert_close(encoding.temperatures[1], torch.tensor(wanted))
    assert not encoding.state_dict().keys() & {"temperatures"}


@pytest.mark.parametrize("gate", ["key", "query", "both"])
@torch.no_grad()
def test_grape_a(gate: str) -> None:
    encoding, x, places = _examined("grape-a", {"gate": gate})
    wanted = _products(x)
    for h in range(HEADS):
        scale = SLOPES[h] * float(F.softplus(encoding.omega[LAYER, h].double()))
        for i in range(COUNT):
            for j in range(COUNT):
                gamma = 0.0
                for part, vector in (("key", x.k[0, h, j]), ("query", x.q[0, h, i])):
                    if gate in (part, "both"):
                        direction = getattr(encoding, part)[LAYER, h].double()
                        along = direction @ vector.double() / direction.norm() / math.sqrt(WIDTH)
                        gamma += float(F.softplus(along))
                wanted[h, i, j] -= (places[i] - places[j]) * scale * gamma
    _assert_logits(encoding, x, wanted)


@torch.no_grad()
def test_grape_a_starts_with_slopes_of_alibi_times_the_gate() -> None:
    encoding: Any = build_encoding("grape-a", {"gate": "both"}, Geometry(64, 4, 2, (24,)))
    torch.testing.assert_close(F.softplus(encoding.omega), torch.ones(2, 4))
    assert float(encoding.key.std()) == pytest.approx(0.25, rel=0.2)


@pytest.mark.parametrize("tied", ["none", "query", "key"])
@pytest.mark.parametrize("rotation", ["published", "relative"])
@torch.no_grad()
def test_grape_ap(tied: str, rotation: str) -> None:
    encoding, x, places = _examined("grape-ap", {"tied": tied, "rotation": rotation})
    if tied == "none":
        p = _double(encoding.maps[LAYER], x.hidden)[0].view(COUNT, HEADS, -1).transpose(0, 1)
    else:
        p = (x.q if tied == "query" else x.k)[0].double()
    normed = p / (p.square().mean(-1, keepdim=True) + 1.2e-7).sqrt()
    pairs = torch.view_as_complex(p.unflatten(-1, (-1, 2)).contiguous())
    normed_pairs = torch.view_as_complex(normed.unflatten(-1, (-1, 2)).contiguous())
    wanted = _products(x)
    for h in range(HEADS):
        for i in range(COUNT):
            fading = 0.0
            for passed in range(i, -1, -1):
                wanted[h, i, passed] += fading
                # R(l − i) turns clockwise like R(l).
                turn = places[passed] - (places[i] if rotation == "relative" else 0)
                product = pairs[h, i] * (normed_pairs[h, passed] * cmath.exp(-1j * turn)).conj()
                agreement = float(product.real.sum()) / p.shape[-1]
                fading += SLOPES[h] * float(F.logsigmoid(torch.tensor(agreement, dtype=torch.float64)))
    _assert_logits(encoding, x, wanted)


@torch.no_grad()
def test_grape_ap_depends_on_positions_themselves_as_published_and_on_distances_as_in_the_paper() -> None:
    with pytest.raises(AssertionError, match="a common shift"):
        IDENTITIES["shift"](Subject("grape-ap", 1, True))
    IDENTITIES["shift"](Subject("grape-ap", 1, True, {"rotation": "relative"}))


@pytest.mark.parametrize("attend_current", [False, True])
@torch.no_grad()
def test_stick_breaking(attend_current: bool) -> None:
    encoding, x, _ = _examined("stick-breaking", {"attend_current": attend_current})
    shares = _products(x).sigmoid()
    weights = torch.zeros_like(shares)
    for h in range(HEADS):
        for i in range(COUNT):
            left = 1.0
            for j in range(i if attend_current else i - 1, -1, -1):
                weights[h, i, j] = left * shares[h, i, j]
                left *= float(1 - shares[h, i, j])
            weights[h, i, i] += left
    torch.testing.assert_close(weights.sum(-1), torch.ones(HEADS, COUNT, dtype=torch.float64))
    logits = _logits(encoding, x)
    hidden = torch.ones(COUNT, COUNT, dtype=torch.bool).triu(1)
    torch.testing.assert_close(
        logits.masked_fill(hidden, -math.inf).softmax(-1), weights, atol=1e-6, rtol=1e-5
    )


def _path_logits(encoding: Any, x: AttentionInputs) -> Tensor:
    """(H, N, N) q·H_i…H_{j+1}·k, unscaled, matrix by matrix."""
    layer, u = encoding.layers[LAYER], x.hidden[0].double()
    for linear in layer.maps:
        u = _double(linear, u)
    if layer.filters is not None:
        taps = layer.filters.double()
        past = torch.cat((torch.zeros(2, u.shape[1]), u))
        u = sum((past[r : r + COUNT] * taps[:, r] for r in range(3)), torch.zeros(()))
    w = F.silu(u).view(COUNT, HEADS, WIDTH)
    w = w / (w.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    beta = 2 * _double(layer.step, x.hidden)[0].sigmoid()
    found = torch.zeros(HEADS, COUNT, COUNT, dtype=torch.float64)
    for h in range(HEADS):
        for i in range(COUNT):
            row = x.q[0, h, i].double()
            for j in range(i, -1, -1):
                found[h, i, j] = row @ x.k[0, h, j].double()
                row = row - beta[j, h] * (row @ w[j, h]) * w[j, h]
    return found


@pytest.mark.parametrize("run", [5, 64], ids=["several runs", "one run"])
@pytest.mark.parametrize("options", [{}, {"rank": None, "convolution": None}], ids=str)
@torch.no_grad()
def test_path(options: dict[str, object], run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.formulas.householder.RUN", run)
    encoding, x, _ = _examined("path", options)
    _assert_logits(encoding, x, _path_logits(encoding, x) / math.sqrt(WIDTH))


@pytest.mark.parametrize("gate_scale", ["published", "plain"])
@torch.no_grad()
def test_path_fox(gate_scale: str) -> None:
    encoding, x, _ = _examined("path-fox", {"gate_scale": gate_scale})
    sums = F.logsigmoid(_double(encoding.gates[LAYER], x.hidden))[0].cumsum(0).T
    passed = (sums[:, :, None] - sums[:, None]) * (1 / math.sqrt(WIDTH) if gate_scale == "published" else 1)
    _assert_logits(encoding, x, _path_logits(encoding, x) / math.sqrt(WIDTH) + passed)


@torch.no_grad()
def test_path_without_steps_is_no_encoding() -> None:
    encoding, x, _ = _examined("path")
    for layer in encoding.layers:
        layer.step.weight.zero_()
        layer.step.bias.fill_(-100.0)
    _assert_logits(encoding, x, _products(x))


@torch.no_grad()
def test_path_turns_cached_keys_once_for_every_new_token() -> None:
    """The state holds q-independent keys, H_last…H_{j+1}·k_j."""
    encoding, x, _ = _examined("path")
    encoding.bias(x)
    turned = x.state["turned"][0].double()
    logits = (x.q[0, :, -1:].double() @ turned.mT)[:, 0]
    torch.testing.assert_close(logits, _path_logits(encoding, x)[:, -1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("scalar_gate", [False, True])
@torch.no_grad()
def test_wall(scalar_gate: bool) -> None:
    encoding, x, _ = _examined("wall", {"scalar_gate": scalar_gate})
    steps = F.logsigmoid(_double(encoding.decays[LAYER], x.hidden))[0].view(COUNT, HEADS, WIDTH)
    wanted = torch.zeros(HEADS, COUNT, COUNT, dtype=torch.float64)
    for h in range(HEADS):
        for i in range(COUNT):
            for j in range(i + 1):
                decay = steps[j + 1 : i + 1, h].sum(0).exp()
                wanted[h, i, j] = (x.q[0, h, i] * x.k[0, h, j] * decay).sum() / math.sqrt(WIDTH)
    if scalar_gate:
        sums = F.logsigmoid(_double(encoding.gates[LAYER], x.hidden))[0].cumsum(0).T
        wanted = wanted + sums[:, :, None] - sums[:, None]
    _assert_logits(encoding, x, wanted)


@pytest.mark.parametrize("rate", [0.01, 3.0, 60.0])
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (1, 40), (16, 16), (37, 100), (128, 128)])
def test_products_decay_without_overflow_however_fast(rate: float, rows: int, keys: int) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, steps = (torch.randn(1, 2, count, 8, generator=draw) for count in (rows, keys, keys))
    sums = (-rate * steps.double().abs()).cumsum(2).requires_grad_()
    here = sums[:, :, keys - rows :]
    found = decayed_products(q, k, here, sums)
    seen = torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows)
    exponent = (here[:, :, :, None] - sums[:, :, None]).clamp(max=0)
    wanted = (q[:, :, :, None].double() * k[:, :, None].double() * exponent.exp()).sum(-1)
    torch.testing.assert_close(found.double()[..., seen], wanted[..., seen], atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(found[..., seen].sum(), sums)
    (exact,) = torch.autograd.grad(wanted[..., seen].sum(), sums)
    torch.testing.assert_close(gradient, exact, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_parameters_start_as_the_sources_say() -> None:
    geometry = Geometry(256, 4, 3, (24,))
    names = ("pope", "path", "path-fox", "wall", "grape-ap", "grape-m")
    built: list[Any] = [build_encoding(name, {}, geometry) for name in names]
    pope, path, fox, wall, grape_ap, grape_m = built
    assert not pope.phases.any()
    uniform: Any = build_encoding("pope", {"phase": "uniform"}, geometry)
    assert -2 * math.pi <= float(uniform.phases.min()) < -6
    assert float(uniform.phases.max()) > -0.3
    for layer in path.layers:
        assert [tuple(linear.weight.shape) for linear in layer.maps] == [(32, 256), (256, 32)]
        assert layer.filters.shape == (256, 3)
        for weight in (*(linear.weight for linear in layer.maps), layer.filters, layer.step.weight):
            assert float(weight.std()) == pytest.approx(0.02, rel=0.1)
        assert not layer.step.bias.any()
    assert not fox.gates[0].bias.any()
    assert all((decay.bias == 8).all() for decay in wall.decays)
    assert float(grape_ap.maps[0].weight.std()) == pytest.approx(0.5 / 16, rel=0.1)
    assert grape_ap.maps[0].weight.shape == (32, 256)
    assert grape_m.log_frequencies.shape == (3, 1, 32)


@pytest.mark.parametrize("name", ["grape-a", "stick-breaking"])
@torch.no_grad()
def test_biases_of_queries_and_keys_are_exact_under_bfloat16(name: str) -> None:
    """Of bfloat16 queries and keys the bias is that of the same values in float32."""
    encoding, x, _ = _examined(name)
    half = x._replace(q=x.q.bfloat16(), k=x.k.bfloat16())
    full = x._replace(q=half.q.float(), k=half.k.float())
    torch.testing.assert_close(_logits(encoding, half), _logits(encoding, full))


@pytest.mark.parametrize("name", ["pope", "repo", "grape-m", "carope", "selective-rope"])
@torch.no_grad()
def test_rotations_are_exact_under_bfloat16(name: str) -> None:
    encoding, x, _ = _examined(name)
    q, k = x.q.bfloat16(), x.k.bfloat16()
    half = encoding.rotate(x._replace(q=q, k=k))
    x.state.clear()
    full = encoding.rotate(x._replace(q=q.float(), k=k.float()))
    for found, wanted in zip(half, full, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, wanted.bfloat16())
