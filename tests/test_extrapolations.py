"""The ways of RoPE past the trained extent, each against its formula in plain float64."""

from __future__ import annotations

import json
import math

import pytest
import torch
from references.golden_values import load

from pebench.encoding_config import build_encoding, extrapolation
from pebench.encodings.rope import MAPS, RotaryEncoding
from pebench.errors import UserError
from pebench.formulas.frequency_maps import Dynamic, FrequencyMap, Linear, LongRope, Rotation, Yarn
from pebench.position_encoding import Extrapolation, Geometry, layer_inputs, tabulate
from pebench.resolve import resolve

WIDTH, TRAINED, BASE = 32, 512, 10000.0
METHODS = ("extend", "pi", "ntk", "dynamic", "yarn")


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
        case "ntk" | "dynamic":
            # The paper of YaRN calls NTK dynamic where the factor is that of the text.
            return _rope_frequency(BASE * scale**power, pair)
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


SETTINGS = {
    name: setting
    for name, setting in json.loads(str(load("rope_frequency_maps")["config"])).items()
    if isinstance(setting, dict)
}
"""Of published implementations, by name: `rope_parameters` as transformers has them."""

PROPORTIONAL = {"proportional_quarter": 1.0, "proportional_quarter_8": 8.0}


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in PROPORTIONAL])
def test_frequency_maps_are_those_of_published_models(name: str) -> None:
    golden, setting = load("rope_frequency_maps"), dict(SETTINGS[name])
    kind, base = setting.pop("rope_type"), setting.pop("rope_theta")
    longest, length = setting.pop("max_position_embeddings"), setting.pop("seq_len")
    width = round(64 * setting.pop("partial_rotary_factor", 1.0))
    trained = setting.get("original_max_position_embeddings", longest)
    if kind == "longrope" and "factor" not in setting:
        setting["factor"] = longest / trained
    options = MAPS[{"linear": "pi"}.get(kind, kind)](**setting) if kind != "default" else FrequencyMap()
    frequencies, factor = options.apply(Rotation(base, width, trained, length or trained))
    torch.testing.assert_close(
        frequencies, torch.from_numpy(golden[f"{name}.inv_freq"]).double(), rtol=5e-7, atol=0
    )
    assert factor == pytest.approx(float(golden[f"{name}.factor"]), rel=1e-6)


ROTATED = load("rope_rotated")
"""Queries and keys turned by published implementations, whose angles are in float32 as ours are."""

TURNED = {
    name: setting for name, setting in json.loads(str(ROTATED["config"])).items() if isinstance(setting, dict)
}


@pytest.mark.parametrize("name", TURNED)
def test_queries_and_keys_turn_as_in_published_models_below_5000(name: str) -> None:
    setting = dict(TURNED[name])
    kind, base, share = setting.pop("rope_type"), setting.pop("rope_theta"), 1.0
    longest, length = setting.pop("max_position_embeddings"), setting.pop("seq_len")
    trained = setting.get("original_max_position_embeddings", longest)
    if kind == "proportional":
        kind, share = "default", setting.pop("partial_rotary_factor")
    if kind == "longrope":
        setting["factor"] = longest / trained
    method = {"linear": "pi", "default": "extend"}.get(kind, kind)
    way = extrapolation(RotaryEncoding, {method: setting} if setting else method)
    encoding = build_encoding("rope", {"base": base, "frequencies": share}, Geometry(128, 2, 1, (trained,)))
    positions = torch.from_numpy(ROTATED[f"{name}.positions"])
    near = (positions < 5000).nonzero().flatten()
    assert len(near) >= 4
    # From the published halves of a head to its pairs of neighbours.
    q, k, wanted_q, wanted_k = (
        torch.from_numpy(ROTATED[key])[:, :, near].unflatten(-1, (2, 32)).mT.flatten(-2)
        for key in ("q", "k", f"{name}.q_out", f"{name}.k_out")
    )
    served = way._replace(extent=(length or int(positions.max()) + 1,))
    table = tabulate(encoding, positions[None, near, None], served)
    turned_q, turned_k = encoding.rotate(layer_inputs(encoding, q, k, q[:, 0], table))
    torch.testing.assert_close(turned_q, wanted_q, atol=1e-3, rtol=0)
    torch.testing.assert_close(turned_k, wanted_k, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", PROPORTIONAL)
def test_gemma_4s_proportional_frequencies_are_p_rope_with_a_factor(name: str) -> None:
    golden, setting = load("rope_frequency_maps"), SETTINGS[name]
    options = {"base": setting["rope_theta"], "frequencies": setting["partial_rotary_factor"]}
    encoding = build_encoding("rope", options, Geometry(128, 2, 1, (TRAINED,)))
    assert isinstance(encoding, RotaryEncoding)
    served = Extrapolation((TRAINED,), "pi", Linear(factor=PROPORTIONAL[name]))
    found, _ = encoding._frequencies(served, torch.device("cpu"))
    torch.testing.assert_close(found, torch.from_numpy(golden[f"{name}.inv_freq"]), rtol=5e-7, atol=0)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_yarns_ramp_in_turns_is_the_papers(scale: float) -> None:
    rotation = Rotation(BASE, WIDTH, TRAINED, int(TRAINED * scale))
    frequencies, _ = Yarn(ramp="turns").apply(rotation)
    for pair, found in enumerate(frequencies.tolist()):
        theta = _rope_frequency(BASE, pair)
        turns = TRAINED * theta / (2 * math.pi)
        kept = min(max((turns - 1) / (32 - 1), 0.0), 1.0)
        assert found == pytest.approx((1 - kept) * theta / scale + kept * theta, rel=1e-12)
    ramped, plain = (Yarn(ramp=ramp).apply(rotation)[0] for ramp in ("turns", "pairs"))
    assert torch.allclose(ramped, plain) == (scale == 1)


def test_dynamic_needs_a_factor() -> None:
    with pytest.raises(UserError, match="extrapolation 'dynamic' needs the option 'factor'"):
        extrapolation(RotaryEncoding, "dynamic")
    wanted = extrapolation(RotaryEncoding, {"dynamic": {"factor": 2}})
    assert wanted.options == Dynamic(factor=2)


def test_rope_parameters_of_a_model_can_be_pasted() -> None:
    pasted = {"rope_type": "yarn", "factor": 32.0, "truncate": False, "mscale": 1.0, "mscale_all_dim": 0}
    wanted = extrapolation(RotaryEncoding, {"yarn": {"factor": 32, "truncate": False, "mscale": 1.0}})
    found = extrapolation(RotaryEncoding, {"yarn": pasted})
    rotation = Rotation(BASE, WIDTH, TRAINED, TRAINED)
    assert isinstance(found.options, Yarn)
    assert isinstance(wanted.options, Yarn)
    assert found.options.apply(rotation)[1] == wanted.options.apply(rotation)[1] == 0.1 * math.log(32) + 1
    for wrong, sentence in {
        "rope_theta": "'rope_theta' is the option 'base' of the encoding",
        "partial_rotary_factor": "'partial_rotary_factor' is the option 'rotated' of the encoding",
        "type": "'type' is 'yarn' for this map, not 0.5",
    }.items():
        with pytest.raises(UserError, match=sentence):
            extrapolation(RotaryEncoding, {"yarn": {**pasted, wrong: 0.5}})


def test_options_that_do_not_fit_the_model_are_refused_before_it_is_trained() -> None:
    ways = [{"longrope": {"factor": 2.0, "long_factor": [1.0, 2.0]}}]
    for task, train in (
        ({"language-modeling": {"extent": 16, "extrapolations": ways}}, {}),
        ("language-modeling", {"extrapolation": ways[0]}),
    ):
        with pytest.raises(UserError, match="extrapolation 'longrope': longrope needs 16 factors a list"):
            resolve("rope", task, train=train)
        with pytest.raises(UserError, match="longrope needs 16 factors a list"):
            resolve("rope + seqpe", task, train=train)
    for encoding in ("rope + seqpe", {"layers": ["rope", "seqpe"]}):
        resolve(
            encoding, {"language-modeling": {"extent": 16, "extrapolations": [{"yarn": {"factor": 2.0}}]}}
        )


def test_longrope_wants_a_factor_for_each_pair() -> None:
    with pytest.raises(ValueError, match="longrope needs 16 factors a list, not 2"):
        LongRope(long_factor=(1.0, 2.0)).apply(Rotation(BASE, WIDTH, TRAINED, 2 * TRAINED))
