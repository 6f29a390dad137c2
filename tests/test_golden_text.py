"""The encodings of text have the values of published implementations, which `tests/golden` keeps, to 1e-5."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from references.golden_values import load
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.position_encoding import (
    AttentionInputs,
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    layer_inputs,
    tabulate,
)


def _built(name: str, options: Mapping[str, Any], golden: Mapping[str, Any], width: int = 64) -> Any:
    """An encoding for one layer of the golden file's heads, whose parameters can be named."""
    heads = golden["q"].shape[1]
    return build_encoding(name, options, Geometry(width, heads, 1, (24,)))


def _tensors(name: str) -> dict[str, Any]:
    """The arrays of a golden file as tensors; its settings as a mapping."""
    found: dict[str, Any] = {
        key: torch.from_numpy(value)
        for key, value in load(name).items()
        if isinstance(value, np.ndarray) and value.ndim
    }
    found["config"] = json.loads(str(load(name)["config"]))
    return found


def _close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), atol=tolerance, rtol=tolerance)


def _neighbours(x: Tensor, dim: int = -1) -> Tensor:
    """Channels whose pairs are (c, c + d/2), so ordered that pairs are (2c, 2c+1)."""
    dim = dim % x.ndim
    ordered: Tensor = x.unflatten(dim, (2, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)
    return ordered


def _inputs(
    encoding: PositionEncoding, golden: Mapping[str, Any], pairs: str = "interleaved"
) -> AttentionInputs:
    count = golden["q"].shape[2]
    positions = golden.get("positions_2d", golden.get("positions", torch.arange(count)))
    positions = positions.view(1, count, -1)
    extent = tuple(int(size) + 1 for size in positions.amax((0, 1)))
    q, k = (_neighbours(golden[key]) if pairs == "half" else golden[key] for key in ("q", "k"))
    hidden = golden.get("hidden", torch.zeros(len(q), count, encoding.geometry.width))
    return layer_inputs(encoding, q, k, hidden, tabulate(encoding, positions, Extrapolation(extent)))


def _bias(encoding: PositionEncoding, x: AttentionInputs) -> Tensor:
    """(B|1, H, N, N) float64."""
    count = x.q.shape[2]
    whole = slice(0, count)
    match encoding.bias(x):
        case Dense(values=values):
            return values(Block(whole, whole, x.mask.visible(whole, whole))).double()
        case Factored(key=key, query=query):
            assert query is not None
            return query.double() @ key.double().mT
    return torch.zeros(1, 1, 1, 1)


def _logits(encoding: PositionEncoding, x: AttentionInputs) -> Tensor:
    """(B, H, N, N) float64: scaled, with the bias, −∞ where the key is not seen."""
    q, k = encoding.rotate(x)
    count = q.shape[2]
    logits = q.double() @ k.double().mT * encoding.scale() + _bias(encoding, x._replace(q=q, k=k))
    return logits.masked_fill(~x.mask.visible(slice(0, count), slice(0, count)), float("-inf"))


@torch.no_grad()
def test_pope() -> None:
    golden = _tensors("pope")
    encoding = _built("pope", {}, golden)
    encoding.phases.copy_(golden["delta"][None])
    assert (golden["delta"] > 0).any()
    assert (golden["delta"] < -2 * np.pi).any()
    x = _inputs(encoding, golden)
    q, k = encoding.rotate(x)
    _close(q @ k.mT, golden["logits_unscaled"])
    _close(_logits(encoding, x).softmax(-1) @ golden["v"], golden["out_causal"])


@torch.no_grad()
def test_pope_far_from_the_origin() -> None:
    golden = _tensors("pope_long")
    assert golden["positions"].max() == 131_071
    encoding = _built("pope", {}, golden, width=32)
    encoding.phases.copy_(golden["delta"][None])
    for found, key in zip(encoding.rotate(_inputs(encoding, golden)), ("q_out", "k_out"), strict=True):
        _close(found, golden[key])


@torch.no_grad()
def test_pope_in_two_dimensions() -> None:
    golden = _tensors("pope_axial")
    encoding: Any = build_encoding("pope", {}, Geometry(32, 2, 1, (3, 4), causal=False))
    encoding.phases.copy_(golden["delta"][None])
    for found, key in zip(encoding.rotate(_inputs(encoding, golden)), ("q_out", "k_out"), strict=True):
        _close(found, golden[key])


def _gated_path(name: str, options: Mapping[str, Any]) -> Tensor:
    """Probabilities of PaTH with the w, β and gates of a golden file."""
    golden = _tensors("path" if name == "path" else "path_fox")
    encoding = _built(name, options, golden)
    encoding.transitions = lambda x: (golden["w"], golden["beta"])
    if name == "path-fox":
        encoding.gates[0].weight.copy_(torch.eye(4, 64))
        odds = golden["log_gate"] - torch.log(-torch.expm1(golden["log_gate"]))
        golden["hidden"] = torch.cat((odds.mT, torch.zeros(2, 24, 60)), dim=-1)
    return _logits(encoding, _inputs(encoding, golden)).softmax(-1)


@pytest.mark.parametrize("name", ["path", "path-fox"])
@torch.no_grad()
def test_path(name: str) -> None:
    golden = _tensors(name.replace("-", "_"))
    probabilities = _gated_path(name, {})
    _close(probabilities, golden["probabilities"])
    _close(probabilities @ golden["v"].double(), golden["out"])


@torch.no_grad()
def test_published_path_fox_divides_its_gate_by_the_root_of_the_width() -> None:
    """Unscaled, as in FoX, it gives other probabilities."""
    plain, golden = _gated_path("path-fox", {"gate_scale": "plain"}), _tensors("path_fox")
    assert golden["config"]["gate_scaled_by_inverse_root_d"]
    assert float((plain - golden["probabilities"]).abs().max()) == pytest.approx(0.42, abs=0.01)


@pytest.mark.parametrize("name", ["path", "path-fox"])
@torch.no_grad()
def test_path_from_the_input_of_the_layer(name: str) -> None:
    golden = _tensors(f"{name.replace('-', '_')}_layer")
    hidden = golden["hidden"]
    q, k, v = (
        (hidden @ golden[f"w_{part}"].T).unflatten(-1, (4, 16)).transpose(1, 2) for part in ("q", "k", "v")
    )
    golden |= {"q": q, "k": k}
    encoding = _built(name, {"rank": golden["config"]["rank"]}, golden)
    layer = encoding.layers[0]
    layer.maps[0].weight.copy_(golden["w_down"])
    layer.maps[1].weight.copy_(golden["w_up"])
    layer.filters.copy_(golden["convolution"])
    layer.step.weight.copy_(golden["w_beta"])
    layer.step.bias.copy_(golden["b_beta"])
    if name == "path-fox":
        encoding.gates[0].weight.copy_(golden["w_gate"])
        encoding.gates[0].bias.copy_(golden["b_gate"])
    x = _inputs(encoding, golden)
    w, beta = encoding.transitions(x)
    _close(w, golden["w_vectors"])
    _close(beta, golden["beta"])
    x.state.clear()
    _close(_logits(encoding, x).softmax(-1) @ v.double(), golden["out"])


@torch.no_grad()
def test_repo() -> None:
    golden = _tensors("repo")
    encoding = _built("repo", {"start": 0}, golden)
    reader = encoding.readers[0]
    for ours, theirs in (("gate", "w_gate"), ("content", "w_content"), ("heads", "w_head")):
        getattr(reader, ours).weight.copy_(golden[theirs])
    x = _inputs(encoding, golden, "half")
    _close(reader(x.hidden.float()).transpose(1, 2), golden["content_positions"])
    q, k = encoding.rotate(x)
    # Places up to 180 turn by as many radians, which float32 holds to 1.5e-5, on both sides, in logits of
    # ten; processors differ in the last bits of such a place.
    _close(q @ k.mT, golden["logits_unscaled"], 4e-4)


@torch.no_grad()
def test_stick_breaking() -> None:
    golden = _tensors("stick_breaking")
    encoding = _built("stick-breaking", {}, golden)
    weights = _logits(encoding, _inputs(encoding, golden)).softmax(-1)
    _close(weights.tril(-1), golden["attention"])
    _close(weights.diagonal(dim1=-2, dim2=-1), golden["remainder"])
    _close(weights @ golden["v"], golden["out"] + golden["remainder"][..., None] * golden["v"])


@pytest.mark.parametrize("tied", ["none", "key"])
@torch.no_grad()
def test_grape_ap(tied: str) -> None:
    golden = _tensors("grape_ap" if tied == "none" else "grape_ap_tied_key")
    encoding = _built("grape-ap", {"tied": tied}, golden)
    if tied == "none":
        encoding.maps[0].weight.copy_(_neighbours(golden["w_p"], 1).flatten(0, 1))
    _close(encoding.slopes, golden["slopes"])
    _close(_bias(encoding, _inputs(encoding, golden, "half")).tril(), golden["bias"])


@pytest.mark.parametrize("gate", ["key", "both"])
@torch.no_grad()
def test_grape_a(gate: str) -> None:
    golden = _tensors("grape_a_key" if gate == "key" else "grape_a_query_key")
    encoding = _built("grape-a", {"gate": gate}, golden)
    encoding.omega.copy_(golden["omega"][None])
    encoding.key.copy_(golden["u"][None])
    if gate == "both":
        encoding.query.copy_(golden["v_query"][None])
    found = _bias(encoding, _inputs(encoding, golden))
    # What is constant along a row is left out; the published bias of the own key is 0.
    _close((found - found.diagonal(dim1=-2, dim2=-1)[..., None]).tril(), golden["bias"])


@torch.no_grad()
def test_grape_m() -> None:
    golden = _tensors("grape_m")
    log_scale = golden["config"]["log_scale"]
    encoding = _built("grape-m", {"per_head": True, "log_scale": log_scale}, golden, width=32)
    encoding.log_frequencies.copy_(golden["log_frequencies"][None])
    q, k = encoding.rotate(_inputs(encoding, golden, "half"))
    _close(q, _neighbours(golden["q_out"]))
    _close(k, _neighbours(golden["k_out"]))
    _close(q @ k.mT, golden["logits_unscaled"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("selective_rope", {}),
        ("selective_rope_gate_bias", {"gate": True, "constant": True}),
        ("selective_rope_no_convolution", {"convolution": None}),
    ],
)
@torch.no_grad()
def test_selective_rope(name: str, options: dict[str, object]) -> None:
    golden = _tensors(name)
    encoding = _built("selective-rope", {"rank": 4, **options}, golden, width=32)
    reader = encoding.readers[0]
    reader.down.weight.copy_(golden["w_down"])
    reader.up.weight.copy_(golden["w_up"])
    if "convolution" not in options:
        reader.filters.copy_(golden["convolution"])
    if "gate" in options:
        reader.gate.weight.copy_(golden["w_gate"])
        reader.gate.bias.copy_(golden["b_gate"])
        reader.constant.copy_(golden["log_bias"])
    _close(encoding.temperatures[0], golden["temperature"])
    q, k = encoding.rotate(_inputs(encoding, golden, "half"))
    _close(q, _neighbours(golden["q_out"]))
    _close(k, _neighbours(golden["k_out"]))
    _close(q @ k.mT, golden["logits_unscaled"], 2e-5)


@torch.no_grad()
def test_wall() -> None:
    golden = _tensors("wall")
    encoding = _built("wall", {}, golden)
    encoding.decays[0].weight.copy_(torch.eye(64))
    encoding.decays[0].bias.zero_()
    log_gate = golden["log_gate"].double()
    odds = log_gate - torch.log(-torch.expm1(log_gate))
    golden["hidden"] = odds.transpose(1, 2).flatten(2).float()
    probabilities = _logits(encoding, _inputs(encoding, golden)).softmax(-1)
    _close(probabilities, golden["probabilities"])
    _close(probabilities @ golden["v"].double(), golden["out"])
