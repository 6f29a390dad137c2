"""The answer to which extension a model should use, from known evidence and from a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from specimens import pretrained_folders as folders

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.extending.evidence import Evidence, Tails
from pebench.extending.plan import Plan, plan
from pebench.extending.recommendation import recommend
from pebench.pretrained.hf_model import hf_model
from pebench.tasks.language_modeling import LanguageModelingOptions

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    folders.save(folders.build("Llama", **SIZES), place / "Tiny_Llama")
    folders.save(folders.build("Llama", **SIZES, rope_scaling=LLAMA3), place / "llama3")
    folders.save(folders.build("GPT2", n_embd=32, n_layer=1, n_head=4, n_positions=64), place / "gpt2")
    return place


@pytest.fixture
def asked(models: Path) -> Plan:
    """Two extents beyond the trained one, and a single factor."""
    return plan(hf_model(f"hf:{models / 'Tiny_Llama'}"), [models], [128, 256], [4.0])


def evidence(
    asked: Plan, nats: Mapping[tuple[str, int], float], accuracy: Mapping[tuple[str, int], float]
) -> Evidence:
    """Scores of four stretches around these losses, of which methods differ by as much on each."""
    found: Tails = {}
    for method in asked.methods:
        for extent in asked.extents:
            mean = nats.get((method.name, extent), 3.0)
            found[method.label, extent] = {
                (0, stretch): (64 * (mean + noise + 0.001 * (stretch % 2) * len(method.name)), 64)
                for stretch, noise in enumerate((-0.4, -0.1, 0.2, 0.3))
            }
    labels = {method.name: method.label for method in asked.methods}
    return Evidence(
        asked, found, {(labels[name], extent): value for (name, extent), value in accuracy.items()}
    )


def test_the_plan_has_every_map_with_every_factor(asked: Plan, models: Path) -> None:
    assert asked.name == "extend-tiny-llama"
    assert asked.extents == (64, 128, 256)
    assert [method.label for method in asked.methods] == [
        "extend",
        *(f"{name}(factor=4.0)" for name in ("pi", "ntk", "yarn", "llama3", "dynamic")),
    ]
    more = plan(hf_model(f"hf:{models / 'Tiny_Llama'}"), [models], [128, 256])
    assert {method.factor for method in more.methods} == {1.0, 2.0, 4.0}


def test_by_default_so_much_of_the_text_is_read_however_long_it_is(asked: Plan, models: Path) -> None:
    """Not all of it, and what is read comes from all over the documents."""
    options = asked.sweep["tasks"][0]["language-modeling"]
    assert (options["tokens"], LanguageModelingOptions.model_validate(options).choice) == (32 * 256, "spread")
    more = plan(hf_model(f"hf:{models / 'Tiny_Llama'}"), [models], [128], tokens=77)
    assert more.sweep["tasks"][0]["language-modeling"]["tokens"] == 77


def test_a_model_with_a_map_of_its_own_is_extended_from_there(models: Path) -> None:
    found = plan(hf_model(f"hf:{models / 'llama3'}"), [models], [128])
    own, plain, *others = found.methods
    assert (own.name, own.factor, plain.name) == ("llama3", 1.0, "extend")
    assert {getattr(method.way.options, "factor", None) for method in others} == {8.0}
    assert all("original_max_position_embeddings=16" in method.label for method in others)


def test_the_best_at_the_largest_extent_is_recommended_with_its_cost(asked: Plan) -> None:
    nats = {("yarn", 256): 2.5, ("yarn", 64): 3.1, ("ntk", 256): 2.7}
    answer = recommend(evidence(asked, nats, {}))
    assert answer.method is not None
    assert answer.method.label == "yarn(factor=4.0)"
    assert answer.sentences[0].startswith("Use yarn(factor=4.0) for all lengths up to 256 tokens")
    assert "predicts the same tokens better than" in answer.sentences[1]
    (cost,) = (sentence for sentence in answer.sentences if sentence.startswith("At 64 tokens it changes"))
    assert "+10.41 % (95 % interval +10." in cost
    assert '"rope_type": "yarn"' in answer.settings


def test_among_those_alike_the_one_that_costs_least_is_recommended(asked: Plan) -> None:
    nats = {("yarn", 256): 2.5, ("yarn", 64): 3.4, ("ntk", 256): 2.5005, ("ntk", 64): 3.01}
    answer = recommend(evidence(asked, nats, {}))
    assert answer.method is not None
    assert answer.method.name == "ntk"
    assert {method.name for method in answer.alike} == {"yarn", "ntk"}
    assert "of those alike it costs least at 64 tokens" in answer.sentences[0]


def test_where_no_extension_uses_what_is_further_away_none_is_recommended(asked: Plan) -> None:
    nats = {(method.name, 256): 4.0 for method in asked.methods}
    answer = recommend(evidence(asked, nats | {("pi", 256): 3.5}, {}))
    assert answer.method is None
    assert answer.sentences[0].startswith("Keep hf:Tiny_Llama at 64 tokens")
    assert "If 256 tokens must be read all the same: Use pi(factor=4.0)" in answer.sentences[1]


def test_another_setting_for_shorter_texts_is_told(asked: Plan) -> None:
    nats = {("yarn", 256): 2.5, ("yarn", 128): 2.9, ("ntk", 128): 2.6}
    told = " ".join(recommend(evidence(asked, nats, {})).sentences)
    assert "For texts of up to 128 tokens alone ntk(factor=4.0) is better" in told


def test_a_cost_that_rounds_to_nothing_has_no_sign(asked: Plan) -> None:
    sentences = recommend(evidence(asked, {("ntk", 256): 2.5, ("ntk", 64): 3.00149}, {})).sentences
    (cost,) = (sentence for sentence in sentences if sentence.startswith("At 64 tokens it changes"))
    assert "changes the perplexity by 0.00 % (95 % interval −0.28 to +0.27 %), which is not shown" in cost


def test_a_model_that_stays_as_it_is_needs_no_setting(asked: Plan) -> None:
    answer = recommend(evidence(asked, {("extend", 256): 2.5}, {}))
    assert answer.sentences[0].startswith("Leave it as it is, extend, for all lengths up to 256 tokens")
    assert answer.settings == ""


@pytest.mark.parametrize(
    ("accuracy", "sentence"),
    [
        ({("extend", 64): 10.0, ("yarn", 256): 5.0}, "The retrieval says little"),
        (
            {("extend", 64): 96.0, ("yarn", 64): 92.0, ("yarn", 256): 88.0},
            "it writes 88 %, and of those in 64 tokens 92 %",
        ),
        ({("extend", 64): 96.0, ("yarn", 256): 40.0, ("pi", 256): 70.0}, "By retrieval alone pi(factor=4.0)"),
    ],
)
def test_retrieval_has_its_say(asked: Plan, accuracy: dict[tuple[str, int], float], sentence: str) -> None:
    answer = recommend(evidence(asked, {("yarn", 256): 2.5}, accuracy))
    assert sentence in " ".join(answer.sentences)


def test_the_interval_is_over_the_stretches(asked: Plan) -> None:
    """Differences that are the same on each are certain, and those of one stretch say nothing of the next."""
    found = evidence(asked, {("yarn", 256): 2.5}, {})
    yarn, dynamic = (next(m for m in asked.methods if m.name == name) for name in ("yarn", "dynamic"))
    assert found.compared((yarn, 256), (yarn, 256)) == (1.0, 1.0, 1.0)
    certain = found.compared((yarn, 256), (dynamic, 256))
    assert certain.low < certain.ratio < certain.high < 1
    assert certain.ratio == pytest.approx(math.exp(-0.5 - 0.0015), rel=1e-6)
    single: Tails = {key: dict(list(value.items())[:1]) for key, value in found.tails.items()}
    alone = Evidence(asked, single, {}).compared((yarn, 256), (dynamic, 256))
    assert math.isnan(alone.low)
    assert not alone.above
    assert not alone.below
    answer = recommend(Evidence(asked, single, {}))
    assert answer.alike == (yarn,)
    assert "give it more text" in answer.sentences[-1]


def test_one_command_asks_and_answers(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(folders.TEXT[number * 7 :] * 2, "utf-8")
    model = f"hf:{models / 'Tiny_Llama'}"
    asked = [
        "extend",
        model,
        "--data",
        "0.txt",
        "1.txt",
        "2.txt",
        "--extents",
        "96",
        "128",
        "--examples",
        "1",
    ]
    assert main(["-q", *asked]) == 2
    assert "needles and question need 68 tokens" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    asked = [*asked[:-1], "0"]
    assert main(["-q", *asked]) == 0
    told = capsys.readouterr().out
    place = tmp_path / "results" / "extend-tiny-llama"
    text = (place / "extension.html").read_text("utf-8")
    assert "for all lengths up to 128 tokens" in told
    for label in ("extend", "pi", "ntk", "yarn", "llama3", "dynamic"):
        assert f"<td>{label}" in text
    assert "change at 64" in text
    assert (place / "report.html").exists()
    assert (place / "score-by-extent.png").exists()
    # What nobody trained has no speed of training.
    assert not (place / "cost-against-quality.png").exists()
    first = text
    # Nothing is computed twice.
    assert main(["-q", *asked]) == 0
    assert "0 of 1 cells to start" in capsys.readouterr().out
    assert (place / "extension.html").read_text("utf-8") == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("hf:gpt2", "--data", ".", "--extents", "128"), "RoPE alone has frequencies to map"),
        (
            ("hf:Tiny_Llama", "--data", ".", "--extents", "32"),
            "was trained for 64 positions: name an extent beyond",
        ),
        (("hf:Tiny_Llama", "--data", "nothing", "--extents", "128"), "there is no text 'nothing'"),
        (("rope-3f2a", "--data", ".", "--extents", "128"), "write the model as 'hf:FOLDER'"),
        (("hf:Tiny_Llama", "--data", ".", "--extents", "many"), "'many' is not a valid integer"),
        (("hf:Tiny_Llama", "--data", ".", "--extents"), "Option '--extents' requires an argument"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(models)
    assert main(["extend", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_plan_of_what_is_not_there_is_refused(models: Path) -> None:
    with pytest.raises(UserError, match="there is no text"):
        plan(hf_model(f"hf:{models / 'Tiny_Llama'}"), [models / "none.txt"], [128])
