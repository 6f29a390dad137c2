"""Runs that start from language models of transformers, by the command line and by sweeps."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from specimens import pretrained_folders as folders

import pebench
from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.models.generation import generate
from pebench.position_encoding import Extrapolation
from pebench.pretrained.hf_model import hf_model
from pebench.resolve import resolve
from pebench.running.finished import load_finished
from pebench.store.run_folder import RunFolder, find_run
from pebench.sweeping.sweep import load_sweep
from pebench.tasks.language_modeling import LanguageModeling

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 56,
    "max_position_embeddings": 96,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    folders.save(folders.build("Llama", **SIZES), place / "llama")
    scaling = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 48}
    folders.save(folders.build("Llama", **SIZES, rope_scaling=scaling), place / "yarn")
    folders.save(folders.build("GPT2", n_embd=32, n_layer=2, n_head=4, n_positions=96), place / "gpt2")
    return place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text"
    text.mkdir()
    for number in range(4):
        (text / f"{number}.txt").write_text(folders.TEXT[number * 7 :], "utf-8")
    return tmp_path


def run(*arguments: str) -> dict[str, Any]:
    """Carries a run out and returns its specification."""
    before = {path.name for path in Path("runs").glob("*-*")} if Path("runs").is_dir() else set()
    assert main(["-q", "run", *arguments]) == 0
    (found,) = {path.name for path in Path("runs").glob("*-*")} - before
    spec: dict[str, Any] = json.loads((Path("runs") / found / "spec.json").read_bytes())
    return spec | {"run": found}


def scores(run_id: str) -> Mapping[tuple[str, int, str], float | None]:
    result = RunFolder(Path("runs") / run_id).result()
    assert result is not None
    return {(score.metric, score.extent[0], score.extrapolation): score.value for score in result.scores}


EVALUATE = ("--set", "train.steps=0", "--set", "task.data=text", "--set", "task.protocols=[non-overlapping]")


def test_perplexity_is_that_of_transformers(models: Path, place: Path) -> None:
    spec = run("--from", f"hf:{models / 'llama'}", *EVALUATE, "--set", "task.evaluate=[96,192]")
    folder = RunFolder(place / "runs" / spec["run"])
    assert not folder.weights.exists()
    result = folder.result()
    assert result is not None
    # Nothing was trained.
    assert result.cost.peak_memory_bytes is None
    finished = load_finished(folder, torch.device("cpu"))
    assert isinstance(finished.task, LanguageModeling)
    finished.task.prepare()
    stream = finished.task._streams["validation"].tokens
    network = folders.library().AutoModelForCausalLM.from_pretrained(models / "llama")
    count, nats = (len(stream) - 1) // 192 * 192, 0.0
    with torch.no_grad():
        for start in range(0, len(stream) - 1, 192):
            row = torch.tensor(stream[start : start + 193].astype("int64"))[None]
            logits = network(row[:, :-1]).logits[0]
            nats += float(torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
    assert count
    wanted = float(torch.tensor(nats / (len(stream) - 1)).exp())
    assert scores(spec["run"])["perplexity", 192, "extend"] == pytest.approx(wanted, rel=1e-5)


def test_decoding_is_that_of_transformers(models: Path, place: Path) -> None:
    spec = run("--from", f"hf:{models / 'llama'}", *EVALUATE, "--set", "task.evaluate=[96]")
    decoder = load_finished(find_run(Path("runs"), spec["run"]), torch.device("cpu")).model
    assert isinstance(decoder, Decoder)
    prompts = [list(range(5, 25)), list(range(60, 67))]
    written = generate(decoder, prompts, Extrapolation((96,)), 12)
    network = folders.library().AutoModelForCausalLM.from_pretrained(models / "llama")
    for prompt, found in zip(prompts, written, strict=True):
        tokens = torch.tensor([prompt])
        whole = network.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
        )
        assert whole[0, len(prompt) :].tolist() == found


def test_every_task_of_text_asks_it_without_training(models: Path, place: Path) -> None:
    start = ("--from", f"hf:{models / 'llama'}", "--set", "train.steps=0", "--set", "task.extent=512")
    retrieval = run(*start, "--task", "retrieval", "--set", "task.evaluate=[96]", "--set", "task.examples=1")
    assert scores(retrieval["run"])["accuracy", 96, "extend"] == 0
    asked = ("--set", "task.questions=2", "--set", "task.evaluate=[512]")
    answered = run(*start, "--task", "question-answering", *asked)
    assert ("answer-perplexity", 512, "extend") in scores(answered["run"])


def test_lm_eval_asks_it_as_transformers_does(models: Path, place: Path) -> None:
    from lm_eval.api.instance import Instance

    import pebench.lm_eval

    spec = run("--from", f"hf:{models / 'llama'}", *EVALUATE, "--set", "task.evaluate=[96]")
    model = pebench.lm_eval.RunLM(spec["run"], device="cpu", max_length=96)
    asked = "The raven sat", " on the bough"
    request = Instance(request_type="loglikelihood", doc={}, arguments=asked, idx=0)
    ((found, _),) = model.loglikelihood([request], disable_tqdm=True)
    transformers = folders.library()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(models / "llama" / "tokenizer.json"))
    tokens = torch.tensor([tokenizer("".join(asked))["input_ids"]])
    context = len(tokenizer(asked[0])["input_ids"])
    network = transformers.AutoModelForCausalLM.from_pretrained(models / "llama")
    with torch.no_grad():
        scores_of_next = network(tokens).logits[0, :-1].log_softmax(-1)
    wanted = scores_of_next.gather(1, tokens[0, 1:, None])[context - 1 :].sum()
    assert found == pytest.approx(float(wanted), rel=1e-5)


def test_a_tokenizer_that_does_not_tell_bytes_is_judged_by_perplexity(models: Path, place: Path) -> None:
    """As one that normalizes, like Llama's: bits a byte are none of its metrics."""
    shutil.copytree(models / "llama", place / "mine")
    path = place / "mine" / "tokenizer.json"
    definition = json.loads(path.read_bytes()) | {"normalizer": {"type": "NFC"}}
    path.write_text(json.dumps(definition), "utf-8")
    asked = ("--set", "task.protocols=[fixed-tail]", "--set", "task.evaluate=[96,192]")
    spec = run("--from", "hf:mine", "--set", "train.steps=0", "--set", "task.data=text", *asked)
    result = RunFolder(place / "runs" / spec["run"]).result()
    assert result is not None
    assert list(result.metrics) == ["perplexity-tail-96"]


def test_maps_and_factors_are_rows_without_training(models: Path, place: Path) -> None:
    ways = "task.extrapolations=[extend,pi,{yarn: {factor: 2}}]"
    spec = run(
        "--from", f"hf:{models / 'llama'}", *EVALUATE, "--set", "task.evaluate=[96,192]", "--set", ways
    )
    found = scores(spec["run"])
    rows = {(extent, way) for metric, extent, way in found if metric == "perplexity"}
    fixed = "yarn(factor=2.0)"
    assert rows == {(96, "extend"), (96, fixed), (192, "extend"), (192, "pi"), (192, fixed)}
    assert len({found["perplexity", *row] for row in rows}) == 5


def test_its_own_map_is_what_it_is_evaluated_with(models: Path, place: Path) -> None:
    spec = run("--from", f"hf:{models / 'yarn'}", *EVALUATE, "--set", "task.evaluate=[96]")
    assert spec["train"]["extrapolation"] == {"yarn": {"factor": 2.0, "original_max_position_embeddings": 48}}
    (way,) = {way for _, _, way in scores(spec["run"])}
    assert way.startswith("yarn(")
    plain = run(
        "--from",
        f"hf:{models / 'yarn'}",
        *EVALUATE,
        "--set",
        "task.evaluate=[96]",
        "--set",
        "train.extrapolation=extend",
    )
    (way,) = {way for _, _, way in scores(plain["run"])}
    assert way == "extend"


def test_it_is_trained_on_and_converted(models: Path, place: Path) -> None:
    train = ("--set", "task.data=text", "--set", "train.steps=2", "--set", "task.extent=32")
    evaluated = ("--set", "task.evaluate=[32]", "--set", "task.protocols=[non-overlapping]")
    tuned = run("--from", f"hf:{models / 'llama'}", *train, *evaluated)
    dropped = run("--from", f"hf:{models / 'llama'}", "--encoding", "none", *train, *evaluated)
    assert dropped["start"]["label"] == "rope on hf:llama"
    resized = run("--from", f"hf:{models / 'gpt2'}", *train, *evaluated)
    log = (place / "runs" / resized["run"] / "log.txt").read_text("utf-8")
    assert "refitted: encoding.rows" in log
    again = run("--from", tuned["run"], *EVALUATE, "--set", "task.evaluate=[32]")
    perplexity = ("perplexity", 32, "extend")
    assert scores(again["run"])[perplexity] == pytest.approx(scores(tuned["run"])[perplexity])


def test_a_run_may_start_from_one_that_only_evaluated(models: Path, place: Path) -> None:
    first = run("--from", f"hf:{models / 'llama'}", *EVALUATE, "--set", "task.evaluate=[96]")
    second = run(
        "--from", first["run"], "--set", "task.protocols=[non-overlapping,sliding]", "--set", "train.steps=0"
    )
    perplexity = ("perplexity", 96, "extend")
    assert scores(second["run"])[perplexity] == scores(first["run"])[perplexity]


def test_the_weights_are_the_identity_wherever_they_lie(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "llama", tmp_path / "elsewhere")
    train = {"steps": 0}

    def run_id() -> str:
        return resolve(
            "own", "language-modeling", train=train, start=hf_model(f"hf:{tmp_path / 'elsewhere'}")
        ).run_id

    before = run_id()
    there = resolve("own", "language-modeling", train=train, start=hf_model(f"hf:{models / 'llama'}"))
    assert before == there.run_id
    weights = load_file(tmp_path / "elsewhere" / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, tmp_path / "elsewhere" / "model.safetensors", {"format": "pt"})
    assert run_id() != before


def test_a_folder_that_changed_since_is_refused(models: Path, place: Path) -> None:
    shutil.copytree(models / "llama", place / "mine")
    spec = resolve(
        "own",
        {"language-modeling": {"data": "text", "evaluate": [96]}},
        train={"steps": 0},
        start=hf_model("hf:mine"),
    )
    config = json.loads((place / "mine" / "config.json").read_bytes())
    (place / "mine" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}), "utf-8")
    with pytest.raises(UserError, match="have changed since this run was asked for"):
        pebench.run(spec, progress=False)


def test_a_sweep_starts_from_it(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "extended.yaml"
    file.write_text(
        "encodings: [own, {rope: {base: 500}}, none]\n"
        f"tasks: [{{language-modeling: {{extent: 96}}, from: 'hf:{models / 'yarn'}'}}]\n"
        "train: {steps: 0}\nseeds: 1\nbaseline: rope\n",
        "utf-8",
    )
    sweep = load_sweep(file)
    labels = {spec.encoding.label: spec.start.label for spec in sweep.cells if spec.start is not None}
    assert labels == {"rope": "hf:yarn", "rope(base=500.0)": "rope on hf:yarn", "none": "rope on hf:yarn"}
    assert [spec.train.extrapolation is not None for spec in sweep.cells] == [True, False, False]
    assert all(spec.model["block"] == "llama" for spec in sweep.cells)


def test_a_sweep_goes_on_from_what_it_made_of_it(models: Path, tmp_path: Path) -> None:
    """DroPE: a published model, recalibrated without rotation, is asked tasks of lm-eval."""
    file = tmp_path / "recalibrated.yaml"
    start = f"hf:{models / 'llama'}"
    file.write_text(
        "encodings: [none, {log-n: {beta: 0.103, count: extent}}, own,"
        " {rope: {}, train: {extrapolation: {yarn: {factor: 2}}}}]\n"
        "tasks:\n"
        f"- &text {{language-modeling: {{extent: 48}}, train: {{steps: 2}}, from: '{start}'}}\n"
        "- lm-eval: {tasks: [niah_multiquery, longbench], extent: 48, metadata: {tokenizer: gpt2}}\n"
        "  train: {steps: 0}\n"
        "  from: *text\n"
        "seeds: 1\nbaseline: rope\n",
        "utf-8",
    )
    sweep = load_sweep(file)
    first, asked = sweep.cells[::2], sweep.cells[1::2]
    assert [spec.start.run for spec in asked if spec.start is not None] == [spec.run_id for spec in first]
    assert [spec.model for spec in asked] == [spec.model for spec in first]
    assert {spec.model["block"] for spec in asked} == {"llama"}
    converted = [spec.start.label for spec in first if spec.start is not None]
    assert converted == ["rope on hf:llama", "rope on hf:llama", "hf:llama", "hf:llama"]
    other = file.read_text("utf-8").replace("train: {steps: 0}", "train: {steps: 0}\n  model: {width: 64}")
    file.write_text(other, "utf-8")
    with pytest.raises(UserError, match="has a model of width 32"):
        load_sweep(file)


def _changed(models: Path, place: Path, **settings: Any) -> str:
    shutil.copytree(models / "llama", place / "changed")
    path = place / "changed" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | settings), "utf-8")
    return f"hf:{place / 'changed'}"


@pytest.mark.parametrize(
    "settings",
    [{"scale_attn_weights": False}, {"scale_attn_by_inverse_layer_idx": True}, {"is_causal": False}],
)
def test_what_is_switched_off_is_followed_no_more_than_what_is_switched_on(
    models: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    shutil.copytree(models / "gpt2", tmp_path / "gpt2")
    path = tmp_path / "gpt2" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | settings), "utf-8")
    with pytest.raises(UserError, match=r"says (scale_attn.*|is_causal=False), which no model here follows"):
        hf_model(f"hf:{tmp_path / 'gpt2'}")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model_type": "gemma3_text"}, "is a model 'gemma3_text', which cannot be followed here"),
        ({"model_type": "nonsense"}, "transformers cannot read"),
        ({"hidden_act": "tanh"}, "the activation 'tanh' is none of those here"),
        ({"clip_qkv": 8.0}, "says clip_qkv=8.0, which no model here follows"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"is quantized \(gptq\)"),
        ({"max_position_embeddings": None}, "is a model 'llama' that transformers cannot read"),
        ({"num_key_value_heads": 3}, "cannot be followed: the model: 4 heads do not share 3"),
        ({"num_hidden_layers": -1}, "cannot be followed: the model, option 'layers'"),
        ({"rms_norm_eps": 0.0}, "cannot be followed: the model, option 'norm_epsilon'"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": None}}, "rope_theta=None, which is no"),
        ({"model_type": "qwen3", "layer_types": ["linear_attention"] * 2}, "layers of linear_attention"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}, "transformers cannot read"),
        ({"partial_rotary_factor": 0.5}, "is followed in GPT-NeoX alone"),
        (
            {"rope_parameters": {"rope_type": "axial", "rope_theta": 1e4}},
            "RoPE of the type 'axial'",
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 0.5}},
            "the configuration of 'hf:changed' cannot be followed: extrapolation 'pi', option 'factor'",
        ),
        ({"model_type": "mistral", "sliding_window": 0}, "the model, option 'windows"),
        (
            {"model_type": "qwen3", "use_sliding_window": False, "layer_types": ["sliding_attention"] * 2},
            "has layers of sliding_attention and no 'sliding_window'",
        ),
        ({"is_causal": False}, "says is_causal=False, which no model here follows"),
        (
            {"rope_parameters": {"rope_theta": 1e4, "factor": 4.0}},
            "says factor=4.0 of RoPE without a 'rope_type' that reads it",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
            "has RoPE of its own in layers of 'full_attention'",
        ),
        (
            {"model_type": "smollm3", "no_rope_layers": [1], "layer_types": ["full_attention"] * 2},
            "no_rope_layers are 1, of 2 layers",
        ),
        ({"num_attention_heads": 5}, r"cannot read: The hidden size \(32\) is not a multiple"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(
    models: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        hf_model(_changed(models, tmp_path, **settings))


def test_without_transformers_a_sentence_says_what_to_install(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "gpt2", tmp_path / "unread")
    (tmp_path / "unread" / "note.txt").write_text("another folder", "utf-8")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'pebench\[hf\]'"):
        hf_model(f"hf:{tmp_path / 'unread'}")


Weights = dict[str, torch.Tensor]


def _every(change: Callable[[torch.Tensor], torch.Tensor], ending: str = "") -> Callable[[Weights], Weights]:
    return lambda weights: {
        name: change(part) if name.endswith(ending) else part for name, part in weights.items()
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda weights: weights | {"model.layers.0.adapter.weight": torch.ones(2)},
            "has weights 'model.layers.0.adapter.weight', which no model here has a place for",
        ),
        (
            lambda weights: {name: part for name, part in weights.items() if name != "model.norm.weight"},
            "has no weights 'model.norm.weight'",
        ),
        (_every(lambda part: part[:-1].clone(), "norm.weight"), "'hf:changed' are 31, which is not what its"),
        (_every(lambda part: part.T.contiguous(), "k_proj.weight"), "are 32x32 and 32x16 and 16x32, which"),
        (_every(lambda part: part.sum(), "norm.weight"), "are a single number, which is not what its"),
        (_every(lambda part: part.to(torch.int8)), "of the type I8, which are quantized"),
        (_every(lambda part: part.to(torch.float8_e4m3fn)), "of the type F8_E4M3, which are quantized"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence_before_anything_is_written(
    models: Path,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Weights], Weights],
    sentence: str,
) -> None:
    reference = _changed(models, place)
    path = place / "changed" / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})
    assert main(["run", "--from", reference, *EVALUATE]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("runs").exists()


def _index(names: str) -> dict[str, str | None]:
    """Files of a model in parts."""
    return {"model.safetensors": None, "model.safetensors.index.json": f'{{"weight_map": {names}}}'}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer.json": None}, "has no tokenizer: there is no tokenizer.json in its folder"),
        ({"tokenizer.json": "{}"}, "the tokenizer of 'hf:changed' cannot be read"),
        ({"model.safetensors": None}, "'model.safetensors' is not in its folder.\n"),
        (
            {"model.safetensors": None, "pytorch_model.bin": ""},
            "which reads 'pytorch_model.bin', saves it as such",
        ),
        (
            {"model.safetensors": "version https://git-lfs.github.com/spec/v1"},
            "model.safetensors cannot be read",
        ),
        (_index("{}"), "is no index of weights"),
        (_index('{"a": 1}'), "is no index of weights"),
        (_index('{"a": "../b"}'), "is no index of weights"),
        (_index('{"a": "b"}'), "'b' is not in its folder"),
        (
            {"model.safetensors": None, "a.bin": "", "pytorch_model-00001-of-00002.bin": "", "z.bin": ""},
            "which reads 'pytorch_model-00001-of-00002.bin', saves it as such",
        ),
        ({"model.safetensors": None, "training_args.bin": ""}, "'model.safetensors' is not in its folder.\n"),
        ({"adapter_config.json": "{}"}, "holds an adapter (adapter_config.json)"),
        ({"adapter_config.json": "{}", "config.json": None}, "merge it into its model"),
        ({"tokenizer.json": None, "tokenizer.model": "x"}, "no tokenizer.json, which is read as it is"),
        ({"config.json": "{}"}, "names no 'model_type'"),
    ],
)
def test_files_that_are_broken_are_one_sentence(
    models: Path,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str | None],
    sentence: str,
) -> None:
    reference = _changed(models, place)
    for name, text in files.items():
        if text is None:
            (place / "changed" / name).unlink()
        else:
            (place / "changed" / name).write_text(text, "utf-8")
    assert main(["run", "--from", reference, *EVALUATE]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_single_file_is_read_before_parts(models: Path, tmp_path: Path) -> None:
    """As transformers does, whatever an index says that was left there."""
    reference = _changed(models, tmp_path)
    index = tmp_path / "changed" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "gone.safetensors"}}', "utf-8")
    found = hf_model(reference).weights()
    torch.testing.assert_close(found, hf_model(f"hf:{models / 'llama'}").weights())


@pytest.mark.parametrize(
    ("setting", "followed"),
    [({"attn_impl": "triton"}, True), ({"alibi_bias_max": 16}, False), ({"qk_ln": True}, False)],
)
def test_settings_of_the_attention_of_mpt_are_told_one_by_one(
    tmp_path: Path, setting: dict[str, Any], followed: bool
) -> None:
    sizes = {"d_model": 32, "n_layers": 1, "n_heads": 4, "max_seq_len": 96}
    folder = folders.save(folders.build("Mpt", **sizes), tmp_path / "mpt")
    config = json.loads((folder / "config.json").read_bytes())
    config["attn_config"] |= setting
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    if followed:
        assert hf_model(f"hf:{folder}").encoding.name == "alibi"
    else:
        ((name, value),) = setting.items()
        with pytest.raises(UserError, match=f"says attn_config.{name}={value}, which no model here follows"):
            hf_model(f"hf:{folder}")


def test_a_head_of_its_own_is_not_tied(models: Path, tmp_path: Path) -> None:
    """Nor does transformers tie it; one that is written down twice is fine."""
    with pytest.raises(UserError, match="write 'tie_word_embeddings: false' there"):
        hf_model(_changed(models, tmp_path, tie_word_embeddings=True))
    path = tmp_path / "changed" / "model.safetensors"
    weights = load_file(path)
    same = weights["model.embed_tokens.weight"].clone()
    save_file(weights | {"lm_head.weight": same}, path, {"format": "pt"})
    assert "head.weight" not in hf_model(f"hf:{tmp_path / 'changed'}").weights()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_parts_and_in_half_precision_are_followed(
    models: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    """And written without the beginning of their names, as some are."""
    reference = _changed(models, tmp_path)
    path = tmp_path / "changed" / "model.safetensors"
    whole = load_file(path)
    path.unlink()
    names = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(whole)}
    for file in set(names.values()):
        part = {
            name.removeprefix("model."): whole[name].to(dtype) for name, own in names.items() if own == file
        }
        save_file(part, path.with_name(file), {"format": "pt"})
    index = json.dumps({"weight_map": {name.removeprefix("model."): file for name, file in names.items()}})
    path.with_name("model.safetensors.index.json").write_text(index, "utf-8")
    found = hf_model(reference).weights()
    for name, wanted in hf_model(f"hf:{models / 'llama'}").weights().items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], wanted.to(dtype).float())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--from", "hf:./nothing"), "there is no folder './nothing' of a model"),
        (("--from", "hf:"), "there is no folder '' of a model"),
        (("--from", "hf:text/0.txt"), "'text/0.txt' is a file: name the folder"),
        (("--from", "hf:text"), "holds no model of transformers"),
        (("--from", "hf:LLAMA", "--task", "n-back"), "reads text, and this task has tokens of its own"),
        (("--from", "hf:LLAMA", "--task", "image-classification"), "is a language model"),
        (("--from", "hf:LLAMA", "--set", "model.layers=3"), "has a model of layers 2"),
        (("--from", "hf:LLAMA", "--set", "task.tokenizer=bpe-300"), "was trained with another tokenizer"),
        (
            (
                "--encoding",
                "own",
            ),
            "starts from nothing",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    models: Path, place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    written = [argument.replace("LLAMA", str(models / "llama")) for argument in arguments]
    steps = [] if "own" in written else ["--set", "train.steps=0"]
    data = [] if "--task" in written else ["--set", "task.data=text", "--set", "task.evaluate=[96]"]
    assert main(["-q", "run", *written, *steps, *data]) in (1, 2)
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told


def test_a_name_on_the_hub_is_its_commit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a cache that holds it, without a network."""
    commit = "0" * 39 + "1"
    folder = tmp_path / "models--someone--llama"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    shutil.copytree(models / "llama", folder / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = hf_model("hf:someone/llama")
    assert (model.reference, model.label) == (f"hf:someone/llama@{commit}", "hf:someone/llama")
    assert hf_model(model.reference).reference == model.reference
    assert model.weights().keys() == hf_model(f"hf:{models / 'llama'}").weights().keys()
    with pytest.raises(
        UserError,
        match=r"there is no folder 'someone/else' here, and the model .* cannot be had from the hub",
    ):
        hf_model("hf:someone/else")
