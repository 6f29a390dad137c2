"""Small models in the format of transformers, with random weights that matter, saved with a tokenizer, and
the decoders here that have the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pebench.encoding_config import build_encoding, extrapolation
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import grid, tabulate
from pebench.pretrained.hf_model import HfModel

VOCABULARY = 320

ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}

TEXT = "The raven sat on the bough, and the fox below it praised its voice. " * 30


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 48,
}
SHARED = {**SIZES, "num_key_value_heads": 2, "head_dim": 12}
LONG = {"max_position_embeddings": 96, "rope_theta": 50.0}
LONGROPE = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 4.0, 8.0]}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96}),
    "gpt2-untied": (
        "GPT2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 40, "n_positions": 96}
        | {"tie_word_embeddings": False, "activation_function": "relu"},
    ),
    "gpt-neox": ("GPTNeoX", SIZES | {"rotary_pct": 0.5}),
    "gpt-neox-sequential": (
        "GPTNeoX",
        SIZES | {"use_parallel_residual": False, "attention_bias": False, "rotary_pct": 1.0},
    ),
    "llama": ("Llama", SIZES),
    "llama-biased": (
        "Llama",
        SIZES | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "llama-grouped": ("Llama", SHARED | {"rope_theta": 50.0}),
    "mistral": ("Mistral", SHARED | {"sliding_window": 9}),
    "qwen2": (
        "Qwen2",
        SIZES
        | {"num_key_value_heads": 1, "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2},
    ),
    "qwen3": ("Qwen3", SHARED),
    "qwen3-windows": (
        "Qwen3",
        SHARED | {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 2},
    ),
    "mpt": ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 96}),
    "mpt-six-heads": ("Mpt", {"d_model": 48, "n_layers": 1, "n_heads": 6, "max_seq_len": 96}),
    "bloom": ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 96}),
    "bloom-six-heads": ("Bloom", {"hidden_size": 48, "n_layer": 1, "n_head": 6, "seq_length": 96}),
    "smollm3": ("SmolLM3", SIZES | {"num_key_value_heads": 2}),
    "linear": ("Llama", SIZES | LONG | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "dynamic": ("Llama", SIZES | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "yarn": (
        "Llama",
        SIZES
        | LONG
        | {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 48}},
    ),
    "llama3": (
        "Llama",
        SIZES
        | LONG
        | {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 2.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 48,
            }
        },
    ),
    "proportional": (
        "Llama",
        SIZES
        | {
            "rope_parameters": {"rope_type": "proportional", "rope_theta": 50.0, "partial_rotary_factor": 0.5}
        },
    ),
    "proportional-stretched": (
        "GPTNeoX",
        SIZES
        | {
            "rope_parameters": {
                "rope_type": "proportional",
                "rope_theta": 50.0,
                "partial_rotary_factor": 0.75,
                "factor": 2.0,
            }
        },
    ),
    "longrope": (
        "Llama",
        SIZES
        | LONG
        | {"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 48, **LONGROPE}},
    ),
}
"""A model of transformers, and its settings."""


def library() -> Any:
    """transformers, which imports torchvision."""
    declare_missing()
    import transformers

    return transformers


def save_tokenizer(folder: Path, size: int = 300) -> int:
    """A byte-level BPE of a short text; returns how many tokens it has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    inner.save(str(folder / "tokenizer.json"))
    return int(inner.get_vocab_size())


def build(name: str, **settings: Any) -> Any:
    """A small model of a class of transformers, in evaluation mode."""
    transformers = library()
    kind = getattr(transformers, f"{name}ForCausalLM", None) or getattr(transformers, f"{name}LMHeadModel")
    torch.manual_seed(0)
    network = kind(getattr(transformers, f"{name}Config")(**{"vocab_size": VOCABULARY, **ENDS, **settings}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for label, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.15
            norm = ("norm" in label or ".ln_" in label) and label.endswith("weight")
            parameter.copy_(1 + noise if norm else noise)
    return network.eval()


def save(network: Any, folder: Path) -> Path:
    """Writes a model with its tokenizer."""
    network.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def decoder_of(model: HfModel) -> Decoder:
    """The model here, with its weights, in evaluation mode."""
    host = DecoderOptions.model_validate(model.options)
    encoding = build_encoding(model.encoding.name, model.encoding.options, model.geometry)
    if model.extrapolation is not None:
        way = extrapolation(type(encoding), model.extrapolation)
        encoding.trained_with = way._replace(extent=model.geometry.extent)
    decoder = Decoder(model.geometry, model.config.vocab_size, encoding, host, 0).eval()
    decoder.load_state_dict(model.weights())
    return decoder


def logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    """(B, N, vocabulary) of (B, N) tokens, N being the extent that is served."""
    reach = decoder.encoding.trained_with._replace(extent=(tokens.shape[1],))
    table = tabulate(decoder.encoding, grid((tokens.shape[1],)), reach)
    found: Tensor = decoder.logits(decoder(tokens, table))
    return found
