"""Small models of transformers with random weights, and decoders here with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.torchvision_operators import declare_missing

VOCABULARY = 97
EXTENT = 48
PLAIN = {"num_hidden_layers": 4, "vocab_size": VOCABULARY, "pad_token_id": None}
GROUPED = PLAIN | {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
}
HOST = {"block": "llama", "width": 48, "layers": 4, "heads": 6, "inner": 80, "key_value_heads": 2}
WIDE = HOST | {"head_dim": 12}
NEOX = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}


@dataclass(frozen=True)
class Pair:
    """A model of transformers, and the decoder that it should equal.

    Attributes:
        kind: the name of its class without ``ForCausalLM`` or ``LMHeadModel``.
        config: of the class; what it leaves out is the class's default.
        options: of the decoder.
        encoding: of the decoder, with its options.
    """

    kind: str
    config: dict[str, Any]
    options: dict[str, Any]
    encoding: str = "rope"
    encoding_options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> tuple[nn.Module, Decoder]:
        """Both, in evaluation mode."""
        declare_missing()
        import transformers

        suffix = "LMHeadModel" if self.kind == "GPT2" else "ForCausalLM"
        config = getattr(transformers, f"{self.kind}Config")(**self.config)
        config._attn_implementation = "eager"
        torch.manual_seed(0)
        theirs: nn.Module = getattr(transformers, f"{self.kind}{suffix}")(config).eval()
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                # No norm at one and no bias at zero, which would hide where they act.
                spread = torch.randn(parameter.shape) * (0.1 if parameter.ndim > 1 else 0.2)
                parameter.copy_(spread + ("norm" in name or "ln_" in name) * name.endswith("weight"))
        options = DecoderOptions.model_validate(self.options)
        geometry = options.geometry(EXTENT)
        encoding = build_encoding(self.encoding, self.encoding_options, geometry)
        ours = Decoder(geometry, VOCABULARY, encoding, options, seed=0).eval()
        turning = getattr(encoding, "turning", geometry.head_dim)
        order = _pairs(geometry.head_dim, turning)
        state = dict(_WEIGHTS[self.kind](dict(theirs.state_dict()), geometry.heads, order))
        ours.load_state_dict(state)
        return theirs, ours


PAIRS = {
    "llama": Pair("Llama", GROUPED, WIDE | {"norm_epsilon": 1e-6, "tied": False}),
    "llama with biases": Pair(
        "Llama",
        GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        WIDE | {"norm_epsilon": 1e-6, "attention_bias": "all", "perceptron_bias": True},
    ),
    "qwen2": Pair(
        "Qwen2",
        {key: value for key, value in GROUPED.items() if key != "head_dim"},
        HOST | {"norm_epsilon": 1e-6, "attention_bias": "inputs", "tied": False},
    ),
    "qwen3": Pair("Qwen3", GROUPED, WIDE | {"norm_epsilon": 1e-6, "qk_norm": True, "tied": False}),
    "mistral": Pair(
        "Mistral",
        GROUPED | {"sliding_window": 9},
        WIDE | {"norm_epsilon": 1e-6, "windows": [9], "tied": False},
    ),
    "qwen3 with windows in two layers": Pair(
        "Qwen3",
        GROUPED | {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 2},
        WIDE | {"norm_epsilon": 1e-6, "qk_norm": True, "tied": False, "windows": [None, None, 7, 7]},
    ),
    "smollm3": Pair(
        "SmolLM3",
        {key: value for key, value in GROUPED.items() if key != "head_dim"}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 2000000.0}},
        HOST | {"norm_epsilon": 1e-6},
        "layers",
        {"parts": [{"rope": {"base": 2000000.0}, "times": 3}, "none"]},
    ),
    "gpt2": Pair(
        "GPT2",
        {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": EXTENT, "vocab_size": VOCABULARY},
        {"width": 48, "layers": 3, "heads": 4},
        "learned",
    ),
    "gpt-neox": Pair(
        "GPTNeoX",
        PLAIN | NEOX,
        {"width": 48, "layers": 4, "heads": 4, "inner": 96, "activation": "gelu"}
        | {"parallel": True, "tied": False},
        "rope",
        {"rotated": 0.5},
    ),
    "gpt-neox, one after another": Pair(
        "GPTNeoX",
        PLAIN | NEOX | {"use_parallel_residual": False, "attention_bias": False},
        {"width": 48, "layers": 4, "heads": 4, "inner": 96, "activation": "gelu"}
        | {"attention_bias": "none", "tied": False},
        "rope",
        {"rotated": 0.5},
    ),
}
"""Pairs by name."""

State = dict[str, Tensor]


def _pairs(width: int, turning: int) -> Tensor:
    """The channel of theirs that each of ours is. They turn channel c with c + turning/2, here it turns with
    its neighbour."""
    order = torch.arange(width)
    order[:turning] = torch.arange(turning).view(2, -1).T.flatten()
    return order


def _ordered(rows: Tensor, order: Tensor) -> Tensor:
    ordered: Tensor = rows.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1)
    return ordered


def _llama(theirs: State, heads: int, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in theirs.items():
        if name == "lm_head.weight":
            if not torch.equal(tensor, theirs["model.embed_tokens.weight"]):
                yield "head.weight", tensor
        elif name == "model.embed_tokens.weight":
            yield "token_embedding.weight", tensor
        elif name == "model.norm.weight":
            yield "final_norm.weight", tensor
        elif "q_proj" in name:
            q, k, v = (theirs[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj"))
            joint = torch.cat((_ordered(q, order), _ordered(k, order), v))
            yield _renamed(name, {"model.layers": "blocks", "self_attn.q_proj": "attention.input"}), joint
        elif "k_proj" not in name and "v_proj" not in name:
            names = {
                "model.layers": "blocks",
                "self_attn.o_proj": "attention.output",
                "self_attn.q_norm": "attention.query_norm",
                "self_attn.k_norm": "attention.key_norm",
                "input_layernorm": "attention_norm",
                "post_attention_layernorm": "perceptron_norm",
                "mlp.gate_proj": "gate",
                "mlp.up_proj": "expand",
                "mlp.down_proj": "contract",
            }
            yield _renamed(name, names), tensor[order] if "_norm." in name else tensor


def _gpt2(theirs: State, heads: int, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    names = {
        "transformer.wte": "token_embedding",
        "transformer.wpe.weight": "encoding.rows",
        "transformer.ln_f": "final_norm",
        "transformer.h": "blocks",
        "ln_1": "attention_norm",
        "ln_2": "perceptron_norm",
        "attn.c_attn": "attention.input",
        "attn.c_proj": "attention.output",
        "mlp.c_fc": "expand",
        "mlp.c_proj": "contract",
    }
    for name, tensor in theirs.items():
        if name != "lm_head.weight":
            turned = "c_" in name and tensor.ndim == 2
            yield _renamed(name, names), tensor.T if turned else tensor


def _neox(theirs: State, heads: int, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    names = {
        "gpt_neox.embed_in": "token_embedding",
        "gpt_neox.final_layer_norm": "final_norm",
        "gpt_neox.layers": "blocks",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "perceptron_norm",
        "attention.query_key_value": "attention.input",
        "attention.dense": "attention.output",
        "mlp.dense_h_to_4h": "expand",
        "mlp.dense_4h_to_h": "contract",
        "embed_out": "head",
        "lm_head": "head",
    }
    for name, tensor in theirs.items():
        if "query_key_value" in name:
            q, k, v = tensor.unflatten(0, (heads, 3, -1)).unbind(1)
            tensor = torch.cat((q[:, order], k[:, order], v)).flatten(0, 1)
        yield _renamed(name, names), tensor


def _renamed(name: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        name = name.replace(theirs, ours)
    return name


_WEIGHTS: dict[str, Callable[[State, int, Tensor], Iterator[tuple[str, Tensor]]]] = {
    **dict.fromkeys(("Llama", "Qwen2", "Qwen3", "Mistral", "SmolLM3"), _llama),
    "GPT2": _gpt2,
    "GPTNeoX": _neox,
}
