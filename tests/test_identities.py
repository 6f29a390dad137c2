"""What encodings have in common with each other, and what must not change them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from references.attention_reference import attended
from specimens.encoding_subjects import SUBJECTS
from torch import Tensor

from pebench.conformance import IDENTITIES, Subject, assert_close, run_forward, subjects
from pebench.encoding_config import build_encoding
from pebench.encodings.alibi import slopes
from pebench.plugins.registry import encodings
from pebench.position_encoding import (
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)

RELATIVE_SOMEWHERE = [*subjects("fire"), Subject("liere", 1, True), *subjects("liere", {"block": 2})]
"""FIRE as long as no query passes its threshold, and LieRE where its rotations commute."""


def _built(name: str, options: Mapping[str, Any], geometry: Geometry) -> Any:
    """An encoding whose parameters can be named without a word about their types."""
    return build_encoding(name, options, geometry)


def _title(subject: Subject) -> str:
    return f"{subject.name}-{dict(subject.options)}-{subject.axes}d-{subject.causal}"


def _shifted_output(subject: Subject, shift: int) -> Tensor:
    positions, _ = subject.scattered(20)
    return run_forward(
        subject.model(), subject.tokens(20), positions + shift, Extrapolation((300,) * subject.axes)
    )


@pytest.mark.parametrize("subject", RELATIVE_SOMEWHERE, ids=_title)
@torch.no_grad()
def test_a_common_shift_changes_nothing_where_only_distances_count(subject: Subject) -> None:
    here, there = (_shifted_output(subject, shift) for shift in (0, 131))
    assert_close(there, here, "a common shift of all positions changes the output")


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("name", encodings.origins())
def test_an_identity_that_an_encoding_does_not_claim_does_not_hold(name: str, identity: str) -> None:
    if identity in encodings.load(name).claims:
        pytest.skip("it is claimed, and tested as a contract")
    settings = [s for s in SUBJECTS if s.name == name and _says_something(identity, s)]
    assert not settings or not all(_holds(identity, subject) for subject in settings)


def _holds(identity: str, subject: Subject) -> bool:
    try:
        IDENTITIES[identity](subject)
    except AssertionError:
        return False
    return True


def _says_something(identity: str, subject: Subject) -> bool:
    """Whether an identity can fail in a setting at all."""
    match identity:
        case "reversal":
            return not subject.causal
        case "grid-row":
            return subject.axes == 2 and 1 in encodings.load(subject.name).axes
    return True


def _bias(encoding: PositionEncoding, positions: Tensor, layer: int = 0) -> Tensor:
    """(H, N, N) values of a bias that comes from positions alone."""
    table = tabulate(encoding, positions, Extrapolation(encoding.geometry.extent))
    nothing = torch.empty(1, 1, positions.shape[1], 0)
    bias = encoding.bias(layer_inputs(encoding, nothing, nothing, nothing, table, layer))
    assert isinstance(bias, Dense)
    count = positions.shape[1]
    whole = Block(slice(0, count), slice(0, count), torch.ones(1, 1, count, count, dtype=torch.bool))
    return bias.values(whole)[0]


@torch.no_grad()
def test_alibi_as_features_equals_alibi_as_a_matrix() -> None:
    positions = torch.tensor([[0, 1, 4, 9, 10, 30]])[..., None]
    q, k, v = (torch.randn(2, 4, 6, 16) for _ in range(3))
    causal, both = (_built("alibi", {}, Geometry(64, 4, 1, (32,), causal)) for causal in (True, False))
    outputs = []
    for encoding, kind in ((causal, Factored), (both, Dense)):
        table = tabulate(encoding, positions, Extrapolation((32,)))
        bias = encoding.bias(layer_inputs(encoding, q, k, torch.empty(0), table, 0))
        assert isinstance(bias, kind)
        outputs.append(attended(q, k, v, bias, causal=True))
    torch.testing.assert_close(*outputs)


@torch.no_grad()
def test_kerple_power_one_with_alibis_slopes_is_alibi() -> None:
    positions = torch.tensor([[0, 2, 3, 7, 20]])[..., None]
    geometry = Geometry(64, 4, 1, (32,), causal=False)
    kerple = _built("kerple", {"kind": "power"}, geometry)
    kerple.p.fill_(1.0)
    kerple.a.copy_(slopes(4))
    # The last of four slopes, 2^−8, is below what KERPLE keeps its parameters at.
    alibi = _bias(_built("alibi", {}, geometry), positions)
    torch.testing.assert_close(_bias(kerple, positions)[:3], alibi[:3])


@torch.no_grad()
def test_kerple_log_vanishes_with_p_and_is_linear_for_small_a() -> None:
    positions, geometry = grid((20,)), Geometry(64, 4, 1, (20,))
    distance = (positions - positions.transpose(1, 2)).abs().float()
    kerple = _built("kerple", {}, geometry)
    kerple.p.zero_()
    assert _bias(kerple, positions).abs().max() < 0.01 * math.log(21)
    kerple.p.fill_(1.0)
    kerple.a.zero_()
    linear = -0.01 * distance
    assert (_bias(kerple, positions) >= linear).all()
    assert (_bias(kerple, positions) - linear).max() < (0.01 * 19) ** 2 / 2


def _model_outputs(*models: tuple[str, Mapping[str, Tensor | float]]) -> list[Tensor]:
    """Outputs of models that differ in the encoding alone, after setting some of its parameters."""
    outputs = []
    for name, parameters in models:
        options: dict[str, object] = {"scaled": True} if name == "cable" else {}
        if "power" in parameters:
            options["kind"] = "power"
        subject = Subject(name, 1, True, options)
        model = subject.model()
        for parameter, value in parameters.items():
            if parameter != "power":
                for key, tensor in model.encoding.named_parameters():
                    if key.split(".", 1)[0] == parameter or key.endswith("." + parameter):
                        tensor.copy_(torch.as_tensor(value).expand_as(tensor))
        outputs.append(run_forward(model, subject.tokens(20), grid((24,))[:, :20], subject.reach()))
    return outputs


@torch.no_grad()
def test_fox_with_open_gates_is_no_encoding() -> None:
    torch.testing.assert_close(*_model_outputs(("none", {}), ("fox", {"bias": 1e4})))


@torch.no_grad()
def test_cope_whose_vectors_are_zero_is_no_encoding() -> None:
    torch.testing.assert_close(*_model_outputs(("none", {}), ("cope", {"vectors": 0.0})))


@torch.no_grad()
def test_cable_that_ignores_content_falls_with_the_distance() -> None:
    """softplus(0) = ln 2, so every token counts for ln 2. KERPLE scales its logits, CABLE where asked to."""
    outputs = _model_outputs(
        ("kerple", {"power": 1.0, "p": 1.0, "a": math.log(2)}), ("cable", {"weight": 0.0, "bias": 0.0})
    )
    torch.testing.assert_close(*outputs, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_dape_whose_network_is_silent_is_kerple() -> None:
    same = {"p": torch.tensor([0.5, 1.0, 1.5, 2.0]), "a": torch.tensor([0.9, 0.2, 0.4, 0.6])}
    torch.testing.assert_close(*_model_outputs(("kerple", same), ("dape", {**same, "networks": 0.0})))


@torch.no_grad()
def test_liere_in_blocks_of_two_is_rope_mixed() -> None:
    geometry = Geometry(64, 4, 3, (4, 6), causal=False)
    mixed, liere = _built("rope-mixed", {}, geometry), _built("liere", {"block": 2}, geometry)
    rows, columns = geometry.extent
    # Frequencies count the column first, generators the row, and run from 0 to 1 over the trained extent.
    own = torch.stack((mixed.frequencies[1] * (rows - 1), mixed.frequencies[0] * (columns - 1)))
    liere.entries.copy_(own[..., None])
    q, k = (torch.randn(2, 4, 24, 16) for _ in range(2))
    positions, reach = grid((4, 6)), Extrapolation((4, 6))
    for layer in range(3):
        found = liere.rotate(layer_inputs(liere, q, k, q, tabulate(liere, positions, reach), layer))
        wanted = mixed.rotate(layer_inputs(mixed, q, k, q, tabulate(mixed, positions, reach), layer))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rope_axial_on_one_row_is_rope_on_half_of_the_channels() -> None:
    rope = _built("rope", {"base": 100.0, "rotated": 0.5}, Geometry(64, 4, 1, (10,)))
    axial = _built("rope-axial", {}, Geometry(64, 4, 1, (1, 10), causal=False))
    q, k = (torch.randn(2, 4, 10, 16) for _ in range(2))
    found = axial.rotate(
        layer_inputs(axial, q, k, q, tabulate(axial, grid((1, 10)), Extrapolation((1, 10))), 0)
    )
    wanted = rope.rotate(layer_inputs(rope, q, k, q, tabulate(rope, grid((10,)), Extrapolation((10,))), 0))
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_xpos_that_does_not_shrink_is_rope() -> None:
    xpos = _built("xpos", {"scale_base": 1e9}, Geometry(64, 4, 1, (10,)))
    rope = _built("rope", {}, Geometry(64, 4, 1, (10,)))
    q, k = (torch.randn(2, 4, 10, 16) for _ in range(2))
    outputs = [
        e.rotate(layer_inputs(e, q, k, q, tabulate(e, grid((10,)), Extrapolation((10,))), 0))
        for e in (xpos, rope)
    ]
    torch.testing.assert_close(*outputs)
