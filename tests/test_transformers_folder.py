"""A run's language model is loaded by transformers, with equal logits, or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from specimens import pretrained_folders as folders
from specimens.run_folders import finish

from pebench.data.tokenization import ByteTokenizer, LibraryTokenizer
from pebench.data.tokenizer_file import TOKENIZER_FILE, write_tokenizer
from pebench.errors import UserError
from pebench.exchange.transformers_folder import _save_tokenizer, write_transformers_folder
from pebench.models.decoder import Decoder
from pebench.position_encoding import grid, tabulate
from pebench.pretrained.architectures import ARCHITECTURES
from pebench.pretrained.hf_model import hf_model
from pebench.resolve import build_task, encoding_of, resolve
from pebench.specification.plugin_ref import PluginRef
from pebench.store.run_folder import RunFolder

LLAMA: dict[str, Any] = {"block": "llama", "tied": False}
GROUPED = {**LLAMA, "key_value_heads": 2, "head_dim": 12, "inner": 40}
QWEN2 = {**LLAMA, "attention_bias": "inputs", "windows": [None, 5]}
MPT = {"norm_bias": False, "attention_bias": "none", "perceptron_bias": False, "activation": "gelu"}
YARN = {"yarn": {"factor": 2.0}}

EXPORTED: dict[str, tuple[str, PluginRef, dict[str, Any], Any]] = {
    "learned": ("GPT2LMHeadModel", "learned", {"inner": 40}, None),
    "rope": ("GPTNeoXForCausalLM", "rope", {}, None),
    "rope, parallel": ("GPTNeoXForCausalLM", {"rope": {"rotated": 0.5}}, {"parallel": True}, None),
    "none": ("GPTNeoXForCausalLM", "none", {}, None),
    "llama": ("LlamaForCausalLM", {"rope": {"base": 50.0}}, GROUPED, None),
    "mistral": ("MistralForCausalLM", "rope", {**GROUPED, "windows": [5]}, None),
    "qwen2": ("Qwen2ForCausalLM", "rope", QWEN2, None),
    "qwen3": ("Qwen3ForCausalLM", "rope", {**GROUPED, "qk_norm": True, "attention_bias": "all"}, None),
    "smollm3": (
        "SmolLM3ForCausalLM",
        {"layers": [{"rope": {}, "times": 3}, "none"]},
        {"block": "llama"},
        None,
    ),
    "none, llama": ("SmolLM3ForCausalLM", "none", LLAMA, None),
    "pi": ("LlamaForCausalLM", "rope", LLAMA, {"pi": {"factor": 2.0}}),
    "ntk": ("LlamaForCausalLM", "rope", LLAMA, {"ntk": {"factor": 2.0}}),
    "dynamic": ("GPTNeoXForCausalLM", "rope", {}, {"dynamic": {"factor": 2.0}}),
    "yarn": ("GPTNeoXForCausalLM", "rope", {}, YARN),
    "llama3": ("LlamaForCausalLM", "rope", LLAMA, {"llama3": {"factor": 2.0}}),
    "longrope": (
        "LlamaForCausalLM",
        "rope",
        LLAMA,
        {"longrope": {"factor": 2.0, "long_factor": [1.0, 2.0, 4.0, 8.0]}},
    ),
    "yarn, partial": ("GPTNeoXForCausalLM", {"rope": {"rotated": 0.75}}, {}, YARN),
    "proportional": ("LlamaForCausalLM", {"rope": {"frequencies": 0.5}}, LLAMA, None),
    "proportional, gpt2": ("GPTNeoXForCausalLM", {"rope": {"frequencies": 0.75}}, {}, None),
    "proportional, pi": (
        "LlamaForCausalLM",
        {"rope": {"frequencies": 0.75}},
        LLAMA,
        {"pi": {"factor": 2.0}},
    ),
    "bloom": ("BloomForCausalLM", "alibi", {"embedding_norm": True}, None),
    "bloom, untied": (
        "BloomForCausalLM",
        "alibi",
        {"embedding_norm": True, "tied": False, "heads": 6, "width": 48},
        None,
    ),
    "mpt": ("MptForCausalLM", "alibi", MPT, None),
}
"""Architecture, encoding, model and frequency map."""

REFUSED: dict[str, tuple[PluginRef, dict[str, Any], Any, str]] = {
    "alibi": ("alibi", {}, None, "ALiBi in the blocks of BLOOM, which have 'embedding_norm: true'"),
    "alibi, llama": ("alibi", LLAMA, None, "this model is neither"),
    "norm of the embeddings": ("rope", {"embedding_norm": True}, None, "embedding_norm True"),
    "learned, normed": ("learned", {"embedding_norm": True}, None, "embedding_norm True"),
    "t5": ("t5", {}, None, "no architecture with the encoding 't5'"),
    "compose": ("rope + ssmax", {}, None, r"no architecture with the encoding 'rope \+ ssmax'"),
    "p-rope of a share": (
        {"rope": {"rotated": 0.5, "frequencies": 0.5}},
        {},
        None,
        "where all channels turn",
    ),
    "p-rope, yarn": ({"rope": {"frequencies": 0.5}}, {}, YARN, "without a frequency map or with 'pi'"),
    "learned, llama": ("learned", LLAMA, None, "no architecture of transformers has room for 'learned'"),
    "softcap": ("rope", {"logit_softcap": 30.0}, None, "has room for 'rope' in such blocks"),
    "growing": ("rope", {}, "yarn", "with a constant factor alone"),
    "turns": ("rope", {}, {"yarn": {"factor": 2.0, "ramp": "turns"}}, "ramp in pairs alone"),
}


def finished(runs: Path, encoding: PluginRef, model: dict[str, Any], way: Any) -> RunFolder:
    """A run whose weights are random, and matter."""
    train = {"steps": 1, **({} if way is None else {"extrapolation": way})}
    sizes = {"width": 32, "layers": 4, "heads": 4, **model}
    spec = resolve(encoding, {"language-modeling": {"extent": 16}}, model=sizes, train=train)
    folder = RunFolder(runs / spec.run_id)
    folder.create(spec, {})
    write_tokenizer(folder.path / TOKENIZER_FILE, ByteTokenizer())
    task = build_task(spec)
    task.restore(folder.path)
    decoder = task.build(encoding_of(spec, task), 0)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in decoder.state_dict().items():
        noise = torch.randn(parameter.shape, generator=generator) * 0.15
        parameter.copy_(1 + noise if name.endswith("norm.weight") else noise)
    save_file(decoder.state_dict(), folder.weights)
    finish(folder, {("bits-per-byte", 16, "extend"): 1.0})
    return folder


def our_logits(folder: RunFolder, tokens: torch.Tensor) -> torch.Tensor:
    from pebench.running.finished import load_finished

    decoder = load_finished(folder, torch.device("cpu")).model
    assert isinstance(decoder, Decoder)
    reach = decoder.encoding.trained_with._replace(extent=(tokens.shape[1],))
    return decoder.logits(decoder(tokens, tabulate(decoder.encoding, grid((tokens.shape[1],)), reach)))


@pytest.mark.parametrize("name", EXPORTED)
@torch.no_grad()
def test_transformers_loads_it_with_equal_logits(name: str, tmp_path: Path) -> None:
    architecture, encoding, model, way = EXPORTED[name]
    run = finished(tmp_path / "runs", encoding, model, way)
    place = tmp_path / "exported"
    assert write_transformers_folder(run, place) == architecture
    transformers = folders.library()
    network, info = transformers.AutoModelForCausalLM.from_pretrained(place, output_loading_info=True)
    assert type(network).__name__ == architecture
    assert not any(info.values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    assert tokenizer("Naïve 🐑")["input_ids"] == list("Naïve 🐑".encode())
    assert tokenizer.decode(list("Naïve 🐑".encode())) == "Naïve 🐑"
    # Theirs have no more positions.
    for length in (1, 16) if name in ("learned", "mpt") else (1, 16, 32):
        tokens = torch.randint(257, (2, length), generator=torch.Generator().manual_seed(length))
        wanted = our_logits(run, tokens)
        torch.testing.assert_close(network(tokens).logits, wanted, atol=1e-5, rtol=1e-5)
    if name not in ("ntk", "none", "none, llama"):
        back = hf_model(f"hf:{place}")
        assert back.encoding.name == run.spec().encoding.name
        assert (back.extrapolation is None) == (way is None)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_tokens_are_those_of_the_file_whatever_the_architecture(kind: str, tmp_path: Path) -> None:
    """transformers gives tokenizers of some classes, and of some architectures, pieces of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    merged = Tokenizer(models.BPE(vocab=vocabulary | {"12": 256}, merges=[("1", "2")]))
    digits, bytes_ = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)
    merged.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    merged.decoder = decoders.ByteLevel()
    merged.add_special_tokens(["<|endoftext|>"])
    _save_tokenizer(LibraryTokenizer(merged, "<|endoftext|>", "two digits"), tmp_path, kind)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), "utf-8")
    found = folders.library().AutoTokenizer.from_pretrained(tmp_path)("a 1212")["input_ids"]
    assert found == [vocabulary[letter] for letter in "aĠ1212"]
    # Version 4 knows no other class that reads the file alone; of a Qwen2 it needs none.
    settings = json.loads((tmp_path / "tokenizer_config.json").read_bytes())
    assert (settings["tokenizer_class"] == "PreTrainedTokenizerFast") == (kind != "qwen2")


@pytest.mark.parametrize("name", REFUSED)
def test_what_transformers_does_not_have_is_one_sentence(name: str, tmp_path: Path) -> None:
    encoding, model, way, sentence = REFUSED[name]
    run = finished(tmp_path / "runs", encoding, model, way)
    with pytest.raises(UserError, match=sentence):
        write_transformers_folder(run, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_older_versions_of_transformers_find_the_base_where_they_look_for_it(tmp_path: Path) -> None:
    way = {"llama3": {"factor": 2.0}}
    folder = tmp_path / "llama"
    write_transformers_folder(finished(tmp_path / "runs", {"rope": {"base": 50.0}}, LLAMA, way), folder)
    config = json.loads((folder / "config.json").read_bytes())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 50.0
    assert config["rope_scaling"]["rope_type"] == "llama3"
    assert config["rope_scaling"]["factor"] == 2.0
    parallel = finished(tmp_path / "runs", {"rope": {"rotated": 0.5, "base": 50.0}}, {"parallel": True}, None)
    write_transformers_folder(parallel, tmp_path / "neox")
    config = json.loads((tmp_path / "neox" / "config.json").read_bytes())
    assert [config[key] for key in ("rotary_emb_base", "rotary_pct", "rope_scaling")] == [50.0, 0.5, None]
