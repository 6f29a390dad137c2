"""Several encodings in one model: written in a sweep, checked when it is read, sound like any encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from references.attention_reference import attended
from specimens.encoding_subjects import FEW

from pebench.attention import prefix_tokens
from pebench.attention.composition import Composition, _sum
from pebench.attention.encoded_positions import encoded_positions
from pebench.command_line.main import pebench
from pebench.conformance import (
    CONTRACTS,
    IDENTITIES,
    Contract,
    Cost,
    Subject,
    assert_close,
    contracts,
    run_forward,
    subjects,
)
from pebench.encoding_config import build_encoding, encoding_config
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, Geometry, grid, layer_inputs, tabulate
from pebench.resolve import resolve
from pebench.specification.plugin_ref import PluginRef, split
from pebench.sweeping.sweep import load_sweep

WRITTEN: dict[str, PluginRef] = {
    "two words": "learned + rope",
    "a temperature": "rope + ssmax",
    "two biases by position": "alibi + t5",
    "a bias and sines": "alibi + sinusoidal",
    "two biases by key": "alibi + fox",
    "a bias by key and a product": {"compose": ["alibi", {"seqpe": {"positions": 2000, "width": 16, **FEW}}]},
    "a window": {"compose": [{"rope": {"base": 500}}, {"window": {"size": 7}}]},
    "every third layer without": {"layers": [{"rope": {}, "times": 2}, "none"]},
    "windows in the others": {
        "layers": [{"compose": ["rope", {"window": {"size": 6}}], "times": 2}, {"rope": {"base": 1e6}}]
    },
    "states apart": {"layers": ["fox", {"cable": {"scaled": True}}]},
    "products of turned queries and keys": "rope + path",
    "places by content alone": "repo + ssmax",
}


def _subjects() -> list[Subject]:
    return [subject for ref in WRITTEN.values() for subject in subjects(*split(ref, "encoding"))]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("written", WRITTEN, ids=str)
def test_a_composition_keeps_every_contract(written: str, contract: Contract) -> None:
    settings = list(subjects(*split(WRITTEN[written], "encoding")))
    # Compiling costs as much as all the others; the parts alone are compiled in more settings.
    for subject in settings[-1:] if contract is contracts.one_graph else settings:
        contract(subject)


@pytest.mark.parametrize("prefix", [0, 2])
@torch.no_grad()
def test_two_encodings_do_what_each_does(prefix: int) -> None:
    """Attention of `alibi + rope-mixed + seqpe` on a grid is that of rotation and both biases by hand."""
    geometry = Geometry(64, 4, 2, (3, 5), causal=False, prefix_tokens=prefix)
    parts: list[PluginRef] = ["alibi", "rope-mixed", {"seqpe": {"apply": "scalar", "positions": 20}}]
    whole = build_encoding("compose", {"parts": parts}, geometry).eval()
    assert isinstance(whole, Composition)
    alibi, mixed, seqpe = whole.parts
    served = Extrapolation((3, 5))
    q, k, v, hidden = (torch.randn(2, 4, 15 + prefix, 16) for _ in range(4))
    hidden = hidden.transpose(1, 2).flatten(2)
    here = encoded_positions(whole, tabulate(whole, grid((3, 5)), served))
    found = here.attend(q, k, v, hidden, 1, causal=False).values

    def layer(part: Any) -> Any:
        table = encoded_positions(part, tabulate(part, grid((3, 5)), served)).table
        return layer_inputs(part, q, k, hidden, table, 1)

    turned = prefix_tokens.rotate(mixed, layer(mixed))
    one, other = (prefix_tokens.bias(part, layer(part)) for part in (alibi, seqpe))
    assert one is not None
    assert other is not None
    bias = _sum(one, other)
    torch.testing.assert_close(found, attended(*turned, v, bias, causal=False), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_pattern_gives_each_layer_the_encoding_of_its_own() -> None:
    """Three layers of `rope, rope, none` are those of rope with the last layer's rotation taken out."""
    geometry = Geometry(64, 4, 3, (24,))
    pattern = build_encoding("layers", {"parts": [{"rope": {}, "times": 2}, "none"]}, geometry)
    rope = build_encoding("rope", {}, geometry)
    q, k, hidden = torch.randn(1, 4, 24, 16), torch.randn(1, 4, 24, 16), torch.randn(1, 24, 64)
    served = Extrapolation((24,))
    for layer in range(3):
        found = pattern.rotate(
            layer_inputs(pattern, q, k, hidden, tabulate(pattern, grid((24,)), served), layer)
        )
        wanted = (q, k)
        if layer < 2:
            wanted = rope.rotate(layer_inputs(rope, q, k, hidden, tabulate(rope, grid((24,)), served), layer))
        torch.testing.assert_close(found, wanted)


def test_a_part_has_parameters_for_its_own_layers_alone() -> None:
    pattern = build_encoding(
        "layers", {"parts": [{"fox": {}, "times": 3}, "none"]}, Geometry(64, 4, 8, (24,))
    )
    assert len(pattern.get_submodule("parts.0.gates")) == 6  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs 3 layers or more, but the geometry has 2"):
        build_encoding("layers", {"parts": [{"rope": {}, "times": 2}, "none"]}, Geometry(64, 4, 2, (24,)))


@torch.no_grad()
def test_a_composition_with_nothing_is_the_encoding_alone() -> None:
    alone, beside = (next(subjects(*split(ref, "encoding"))).model() for ref in ("kerple", "kerple + none"))
    state = {
        name.replace("encoding.", "encoding.parts.0."): value for name, value in alone.state_dict().items()
    }
    beside.load_state_dict(state)
    tokens, positions = torch.arange(24)[None] % 31, grid((24,))
    one, other = (run_forward(model, tokens, positions, Extrapolation((24,))) for model in (alone, beside))
    assert_close(other, one, "NoPE beside it changes the output")


def test_one_part_draws_nothing_of_another() -> None:
    geometry = Geometry(64, 4, 2, (24,))
    short, long = (
        build_encoding("compose", {"parts": [first, "kerple"]}, geometry, seed=3)
        for first in ("learned", "rope")
    )
    for name in ("p", "a"):
        assert torch.equal(short.get_parameter(f"parts.1.{name}"), long.get_parameter(f"parts.1.{name}"))


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("learned + ropee", "unknown encoding 'ropee': did you mean"),
        ("rope +", "'rope \\+' lacks an encoding beside a '\\+'"),
        ({"compose": ["rope"]}, "'compose' takes two encodings or more, not 1"),
        ({"compose": {"parts": 3}}, "write 'compose: "),
        ({"layers": [{"rope": {}, "times": 0}, "none"]}, "'times' is the number of layers in a row"),
        (
            {"layers": ["learned", "none"]},
            "'learned' acts on the embeddings alone, which no layer has",
        ),
        ("t5 + lookhere", "serve no number of position axes in common"),
        ({"compose": [{"rope": {"bas": 3}}, "none"]}, "unknown option 'bas' of encoding 'rope'"),
        ("pope + path", "'path' takes heads of the model's width, which 'pope' before it widens"),
        ("path + pope", "the bias of 'path' takes heads of the model's width, which 'pope' widens"),
        ("pope + repo", "'repo' takes heads of the model's width, which 'pope' before it widens"),
        ("seqpe + seqpe", "'seqpe' and 'seqpe' choose the positions of training"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_one_sentence(ref: PluginRef, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve(ref, {"language-modeling": {"extent": 24, "evaluate": [24]}}, model={"width": 16, "heads": 2})


@pytest.mark.parametrize("name", sorted(encodings.origins()))
@pytest.mark.parametrize("order", ["pope + {}", "{} + pope"])
def test_beside_one_that_widens_heads_an_encoding_works_or_is_refused(order: str, name: str) -> None:
    try:
        for subject in subjects(*split(order.format(name), "encoding")):
            places = subject.grid()
            tokens = subject.tokens(places.shape[1])
            hidden = run_forward(subject.model(), tokens, places, subject.reach())
            assert hidden.isfinite().all()
    except UserError:
        return


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_names_compositions_in_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(
        "encodings:\n"
        "  - rope\n"
        "  - learned + rope\n"
        "  - compose: [learned, {rope: {base: 500}}]\n"
        "  - layers: [{compose: [rope, {window: {size: 8}}], times: 3}, none]\n"
        "tasks: [{language-modeling: {extent: 16, evaluate: [16, 32], tokens: 64}}]\n"
        "model: {width: 16, layers: 4, heads: 2}\ntrain: {steps: 2, batch: 2}\nseeds: 1\n",
        "utf-8",
    )
    cells = load_sweep(file).cells
    assert [spec.encoding.label for spec in cells] == [
        "rope",
        "learned + rope",
        "learned + rope(base=500.0)",
        "3 × (rope + window(size=8)) / none",
    ]
    assert [spec.run_id.rpartition("-")[0] for spec in cells] == [
        "rope",
        "learned-rope",
        "learned-rope",
        "rope-window-none",
    ]
    assert len({spec.run_id for spec in cells}) == 4
    done = CliRunner().invoke(
        pebench, ["submit", str(file), "--cluster", "inline", "--runs", str(tmp_path / "runs")]
    )
    assert done.exit_code == 0, done.output
    results = CliRunner().invoke(
        pebench,
        ["leaderboard", "mixed", "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "results")],
    )
    assert results.exit_code == 0, results.output
    assert "3 × (rope + window(size=8)) / none" in (tmp_path / "results/mixed/leaderboard.md").read_text(
        "utf-8"
    )


def test_what_reads_turned_queries_and_keys_is_no_function_of_distances() -> None:
    """Between them stand matrices that are not turned."""
    together, apart = (
        next(subjects(*split(ref, "encoding"))) for ref in ("rope + path", {"layers": ["rope", "path"]})
    )
    assert together.declared.claims == ()
    assert apart.declared.claims == ("shift",)
    with pytest.raises(AssertionError, match="a common shift"):
        IDENTITIES["shift"](together)
    IDENTITIES["shift"](apart)


def test_a_version_of_a_part_is_in_the_identity() -> None:
    config = encoding_config("rope + fox")
    assert [part["version"] for part in config.options["parts"]] == [1, 3]


PRICES = [Cost((8,), "parameters", 10, 12, 1.2)]


def test_check_takes_a_composition_and_calls_it_by_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebench.conformance.examination.CONTRACTS", CONTRACTS[:2])
    monkeypatch.setattr("pebench.conformance.costs", lambda *_, **__: PRICES)
    done = CliRunner().invoke(pebench, ["check", "learned + rope"])
    assert done.exit_code == 0, done.output
    assert "learned + rope has 2 parameters of its own" in done.output
    assert "learned + rope is sound" in done.output
    refused = CliRunner().invoke(pebench, ["check", "learned + ropee"])
    assert isinstance(refused.exception, UserError)


def test_decoders_take_any_composition() -> None:
    for subject in _subjects():
        assert isinstance(subject.model(), Decoder)


@pytest.mark.usefixtures("without_pictures")
def test_a_row_is_called_by_the_settings_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "encodings: [rope, {rope: {}, train: {encoding: {clip: 2}}}]\n"
        "tasks: [{language-modeling: {extent: 16, evaluate: [16], tokens: 64}}]\n"
        "model: {width: 16, layers: 1, heads: 2}\ntrain: {steps: 1, batch: 2}\nseeds: 1\n",
        "utf-8",
    )
    runs = str(tmp_path / "runs")
    done = CliRunner().invoke(pebench, ["submit", str(file), "--cluster", "inline", "--runs", runs])
    assert done.exit_code == 0, done.output
    told = CliRunner().invoke(
        pebench, ["leaderboard", "own", "--runs", runs, "--output", str(tmp_path / "r")]
    )
    rows = (tmp_path / "r/own/leaderboard.md").read_text("utf-8")
    assert told.exit_code == 0, told.output
    assert "| rope [train.encoding.clip=2.0] " in rows
    assert "| rope " in rows
    assert "null" not in rows


def test_layers_that_scale_their_logits_differently_are_refused() -> None:
    parts = ["fox", "cable"]
    with pytest.raises(UserError, match="all layers scale the logits alike, which its parts do not"):
        build_encoding("layers", {"parts": parts}, Geometry(64, 4, 4, (24,)))
    together = build_encoding("compose", {"parts": parts}, Geometry(64, 4, 4, (24,)))
    assert together.scale() == 1


def test_the_patterns_of_published_models_are_sweeps(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "encodings.md").read_text("utf-8")
    written = page.split("## Layer patterns")[1].split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "patterns.yaml"
    file.write_text(written, "utf-8")
    cells = load_sweep(file).cells[::3]
    assert [spec.encoding.label for spec in cells] == [
        "3 × rope(base=5000000.0) / none",
        "3 × (rope + window(size=4096)) / none",
        "3 × (rope(base=500000.0) + chunk(size=8192)) / temperature-tuning(floor=8192)",
        "5 × (rope + window(size=1024)) / rope(base=1000000.0)",
        "3 × (rope + window) / log-n",
        "5 × (rope + window(size=1024)) / rope(base=1000000.0, frequencies=0.25)",
    ]
    for spec in cells:
        encoding = build_encoding(spec.encoding.name, spec.encoding.options, Geometry(16, 2, 6, (16,)))
        assert {encoding.window(layer) for layer in range(6)} <= {None, 512, 1024, 4096}


@torch.no_grad()
def test_windows_go_to_the_layers_that_turn_and_in_smollm3_to_the_others() -> None:
    local: PluginRef = {"compose": ["rope", {"window": {"size": 6}}], "times": 3}
    rnope = build_encoding("layers", {"parts": [local, "none"]}, Geometry(16, 2, 4, (24,)))
    smollm3 = build_encoding(
        "layers", {"parts": [{"rope": {}, "times": 3}, {"window": {"size": 6}}]}, Geometry(16, 2, 4, (24,))
    )
    assert [rnope.window(layer) for layer in range(4)] == [6, 6, 6, None]
    assert [smollm3.window(layer) for layer in range(4)] == [None, None, None, 6]
