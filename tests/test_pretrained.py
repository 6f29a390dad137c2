"""Models of transformers give their own logits here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pretrained_folders as folders
import pytest
import torch
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import grid, tabulate
from pebench.pretrained.hf_model import HfModel, hf_model
from pebench.resolve import extrapolation

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
    "mistral": ("Mistral", SHARED | {"sliding_window": 5}),
    "qwen2": (
        "Qwen2",
        SIZES
        | {"num_key_value_heads": 1, "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2},
    ),
    "qwen3": ("Qwen3", SHARED),
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
    "longrope": (
        "Llama",
        SIZES
        | LONG
        | {"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 48, **LONGROPE}},
    ),
}
"""A model of transformers, and its settings."""


def ours(model: HfModel) -> Decoder:
    host = DecoderOptions.model_validate(model.options)
    encoding = build_encoding(model.encoding.name, model.encoding.options, model.geometry)
    if model.extrapolation is not None:
        way = extrapolation(type(encoding), model.extrapolation)
        encoding.trained_with = way._replace(extent=model.geometry.extent)
    decoder = Decoder(model.geometry, model.config.vocab_size, encoding, host, 0).eval()
    decoder.load_state_dict(model.weights())
    return decoder


def logits(decoder: Decoder, tokens: Tensor) -> Tensor:
    reach = decoder.encoding.trained_with._replace(extent=(tokens.shape[1],))
    table = tabulate(decoder.encoding, grid((tokens.shape[1],)), reach)
    found: Tensor = decoder.logits(decoder(tokens, table))
    return found


def test_layers_without_positions_are_a_pattern(tmp_path: Path) -> None:
    kind, settings = MODELS["smollm3"]
    layers = settings | {"num_hidden_layers": 8}
    model = hf_model(f"hf:{folders.save(folders.build(kind, **layers), tmp_path / 'small')}")
    assert model.encoding.label == "3 × rope(base=2000000.0) / none"


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    kind, settings = MODELS[name]
    network = folders.build(kind, **settings)
    decoder = ours(hf_model(f"hf:{folders.save(network, tmp_path / name)}"))
    for length in (1, 7, 48, 96):
        tokens = torch.randint(320, (2, length), generator=torch.Generator().manual_seed(length))
        torch.testing.assert_close(logits(decoder, tokens), network(tokens).logits, atol=1e-5, rtol=1e-5)
