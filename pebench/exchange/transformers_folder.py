"""A finished language model as a folder that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from pebench import atomic
from pebench.data.tokenization import ByteTokenizer, LibraryTokenizer, Tokenizer
from pebench.errors import UserError
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.pretrained.configuration import Model, configuration
from pebench.pretrained.hf_model import transformers_library, turning_channels
from pebench.pretrained.source import CONFIG, TOKENIZER_CONFIG, WEIGHTS
from pebench.pretrained.weight_names import theirs_of
from pebench.running.finished import load_finished
from pebench.store.run_folder import RunFolder


def write_transformers_folder(run: RunFolder, folder: Path) -> str:
    """Writes the model of a finished run with its tokenizer.

    Args:
        run: its folder. folder: to be written, which must not hold a model.

    Returns:
        The architecture that transformers will load.

    Raises:
        UserError: the run has no such model, transformers has no architecture for it, or there is one in the
            folder.
    """
    finished = load_finished(run, torch.device("cpu"))
    decoder, options = finished.model, finished.task.model
    if not isinstance(decoder, Decoder) or not isinstance(options, DecoderOptions):
        raise UserError(f"run '{run.run_id}' is no language model: its task is '{finished.spec.task.name}'.")
    written = configuration(
        Model(
            options,
            decoder.encoding.geometry,
            decoder.token_embedding.num_embeddings,
            finished.spec.encoding,
            decoder.encoding.trained_with,
        )
    )
    if (folder / CONFIG).exists():
        raise UserError(f"'{folder}' holds a model already: name another folder.")
    turning = turning_channels(finished.spec.encoding, decoder.encoding.geometry)
    entries = written.architecture.entries(written.options, turning)
    weights = theirs_of(entries, decoder.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = finished.task.tokenizer
    if tokenizer is not None:
        written.config.eos_token_id = tokenizer.end_of_text
        _save_tokenizer(tokenizer, folder, written.architecture.kind)
    atomic.write_bytes(folder / WEIGHTS, save(weights, {"format": "pt"}))
    written.config.dtype = "float32"
    written.config.save_pretrained(folder)
    config = json.loads((folder / CONFIG).read_bytes())
    atomic.write_json(folder / CONFIG, config | _for_version_4(config))
    return written.architecture.name


def _for_version_4(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE's settings by the keys of transformers before version 5. Those read no `rope_parameters`
    and take the base for 10,000 without a word; versions from 5 on read both alike."""
    rope = config.get("rope_parameters")
    if rope is None:
        return {}
    names = {"rope_theta": "rope_theta", "partial_rotary_factor": "partial_rotary_factor"}
    if config["model_type"] == "gpt_neox":
        names = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
    scaling = {key: value for key, value in rope.items() if key not in names}
    known = {theirs: rope[key] for key, theirs in names.items() if key in rope}
    return known | {"rope_scaling": None if scaling["rope_type"] == "default" else scaling}


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, kind: str) -> None:
    """Under a name by which versions 4 and 5 of transformers both read it as it is written."""
    inner, end = _library(tokenizer)
    fast = transformers_library().PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=end, bos_token=None
    )
    fast.save_pretrained(folder)
    # Version 5 takes whatever else has this name, beside a Qwen2, for the tokenizer that Qwen2 once had.
    if kind != "qwen2":
        path = folder / TOKENIZER_CONFIG
        written = json.loads(path.read_bytes())
        atomic.write_json(path, written | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _library(tokenizer: Tokenizer) -> tuple[Any, str]:
    """An object of the `tokenizers` library that encodes as a tokenizer here; the token that ends a text."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    if isinstance(tokenizer, LibraryTokenizer):
        return Library.from_str(json.dumps(tokenizer.definition())), tokenizer.end_of_text_name
    assert isinstance(tokenizer, ByteTokenizer)
    end = "<|endoftext|>"
    vocabulary = {letter: number for number, letter in enumerate(_letters_of_bytes())}
    inner = Library(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(end, special=True)])
    return inner, end


def _letters_of_bytes() -> list[str]:
    """The letter that a byte-level tokenizer writes for each byte: itself where it is visible in Latin-1,
    else one of those from 256 on, in turn."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in visible else next(spare)) for byte in range(256)]
