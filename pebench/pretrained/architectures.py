"""The architectures of transformers that are decoders here: what their configurations say, and their weights'
names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pebench.errors import UserError, join_and
from pebench.pretrained.architecture import Architecture, Options
from pebench.pretrained.rope_parameters import PROPORTIONAL
from pebench.pretrained.weight_names import (
    Entry,
    HeadShape,
    by_head,
    ordered,
    pairs_side_by_side,
    same,
    separate,
    transposed,
)
from pebench.specification.plugin_ref import PluginRef

ACTIVATIONS = {
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Names of transformers, and ours."""


def architecture_of(config: Any, label: str) -> Architecture:
    """The architecture of a configuration.

    Args:
        config: as transformers reads it. label: what the model is called.

    Raises:
        UserError: there is none such here.
    """
    found = ARCHITECTURES.get(config.model_type)
    if found is None:
        raise UserError(
            f"'{label}' is a model '{config.model_type}', which cannot be followed here: take one of "
            f"{join_and(ARCHITECTURES)}."
        )
    return found


def _gpt2_options(config: Any) -> Options:
    return {
        "block": "gpt2",
        "width": config.n_embd,
        "layers": config.n_layer,
        "heads": config.n_head,
        "inner": 4 * config.n_embd if config.n_inner is None else config.n_inner,
        "activation": _activation(config.activation_function),
        "norm_epsilon": config.layer_norm_epsilon,
        "tied": config.tie_word_embeddings,
    }


def _gpt2_entries(options: Options, turning: int) -> Iterator[Entry]:
    yield same("token_embedding.weight", "transformer.wte.weight")
    yield same("encoding.rows", "transformer.wpe.weight")
    for layer in range(options["layers"]):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        yield from _norm(f"{here}.attention_norm", f"{there}.ln_1")
        yield from _norm(f"{here}.perceptron_norm", f"{there}.ln_2")
        for ours, theirs in (
            ("attention.input", "attn.c_attn"),
            ("attention.output", "attn.c_proj"),
            ("expand", "mlp.c_fc"),
            ("contract", "mlp.c_proj"),
        ):
            yield transposed(f"{here}.{ours}.weight", f"{there}.{theirs}.weight")
            yield same(f"{here}.{ours}.bias", f"{there}.{theirs}.bias")
    yield from _norm("final_norm", "transformer.ln_f")
    yield from _head(options, "lm_head.weight")


def _mpt_options(config: Any) -> Options:
    return {
        "block": "gpt2",
        "width": config.d_model,
        "layers": config.n_layers,
        "heads": config.n_heads,
        "inner": 4 * config.d_model,
        "activation": "gelu",
        "attention_bias": "none",
        "perceptron_bias": False,
        "norm_bias": False,
        "norm_epsilon": config.layer_norm_epsilon,
        "tied": config.tie_word_embeddings,
    }


def _mpt_entries(options: Options, turning: int) -> Iterator[Entry]:
    yield same("token_embedding.weight", "transformer.wte.weight")
    for layer in range(options["layers"]):
        here, there = f"blocks.{layer}", f"transformer.blocks.{layer}"
        for ours, theirs in (
            ("attention_norm", "norm_1"),
            ("attention.input", "attn.Wqkv"),
            ("attention.output", "attn.out_proj"),
            ("perceptron_norm", "norm_2"),
            ("expand", "ffn.up_proj"),
            ("contract", "ffn.down_proj"),
        ):
            yield same(f"{here}.{ours}.weight", f"{there}.{theirs}.weight")
    yield same("final_norm.weight", "transformer.norm_f.weight")
    yield from _head(options, "lm_head.weight")


def _bloom_options(config: Any) -> Options:
    return {
        "block": "gpt2",
        "width": config.hidden_size,
        "layers": config.n_layer,
        "heads": config.n_head,
        "inner": 4 * config.hidden_size,
        "activation": "gelu-tanh",
        "embedding_norm": True,
        "norm_epsilon": config.layer_norm_epsilon,
        "tied": config.tie_word_embeddings,
    }


def _bloom_entries(options: Options, turning: int) -> Iterator[Entry]:
    heads = options["heads"]
    shape = HeadShape(heads, heads, pairs_side_by_side(options["width"] // heads, turning))
    yield same("token_embedding.weight", "transformer.word_embeddings.weight")
    yield from _norm("embedding_norm", "transformer.word_embeddings_layernorm")
    for layer in range(options["layers"]):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        yield from _norm(f"{here}.attention_norm", f"{there}.input_layernorm")
        yield from _norm(f"{here}.perceptron_norm", f"{there}.post_attention_layernorm")
        for part in ("weight", "bias"):
            yield by_head(
                f"{here}.attention.input.{part}", f"{there}.self_attention.query_key_value.{part}", shape
            )
            yield same(f"{here}.attention.output.{part}", f"{there}.self_attention.dense.{part}")
            yield same(f"{here}.expand.{part}", f"{there}.mlp.dense_h_to_4h.{part}")
            yield same(f"{here}.contract.{part}", f"{there}.mlp.dense_4h_to_h.{part}")
    yield from _norm("final_norm", "transformer.ln_f")
    yield from _head(options, "lm_head.weight")


def _neox_options(config: Any) -> Options:
    return {
        "block": "gpt2",
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "inner": config.intermediate_size,
        "activation": _activation(config.hidden_act),
        "attention_bias": "all" if config.attention_bias else "none",
        "norm_epsilon": config.layer_norm_eps,
        "parallel": config.use_parallel_residual,
        "tied": config.tie_word_embeddings,
    }


def _neox_entries(options: Options, turning: int) -> Iterator[Entry]:
    heads = options["heads"]
    shape = HeadShape(heads, heads, pairs_side_by_side(options["width"] // heads, turning))
    biased = options["attention_bias"] != "none"
    yield same("token_embedding.weight", "gpt_neox.embed_in.weight")
    for layer in range(options["layers"]):
        here, there = f"blocks.{layer}", f"gpt_neox.layers.{layer}"
        yield from _norm(f"{here}.attention_norm", f"{there}.input_layernorm")
        yield from _norm(f"{here}.perceptron_norm", f"{there}.post_attention_layernorm")
        for part in _parts(biased):
            yield by_head(
                f"{here}.attention.input.{part}", f"{there}.attention.query_key_value.{part}", shape
            )
            yield same(f"{here}.attention.output.{part}", f"{there}.attention.dense.{part}")
        for part in ("weight", "bias"):
            yield same(f"{here}.expand.{part}", f"{there}.mlp.dense_h_to_4h.{part}")
            yield same(f"{here}.contract.{part}", f"{there}.mlp.dense_4h_to_h.{part}")
    yield from _norm("final_norm", "gpt_neox.final_layer_norm")
    yield from _head(options, "embed_out.weight")


def _llama_options(config: Any) -> Options:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "block": "llama",
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "head_dim": width,
        "key_value_heads": config.num_key_value_heads,
        "inner": config.intermediate_size,
        "activation": _activation(config.hidden_act),
        "attention_bias": "all" if getattr(config, "attention_bias", False) else "none",
        "perceptron_bias": getattr(config, "mlp_bias", False),
        "norm_epsilon": config.rms_norm_eps,
        "qk_norm": False,
        "windows": _windows(config),
        "tied": config.tie_word_embeddings,
    }


def _windows(config: Any) -> list[int | None]:
    """The window of each layer, empty where every layer sees all."""
    kinds = getattr(config, "layer_types", None)
    unknown = sorted({*(kinds or ())} - {"full_attention", "sliding_attention"})
    if unknown:
        raise UserError(f"it has layers of {unknown[0]}, which no model here has.")
    size = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if size is None and "sliding_attention" in (kinds or ()):
        raise UserError("it has layers of sliding_attention and no 'sliding_window' for them.")
    found = [size] if kinds is None else [size if kind == "sliding_attention" else None for kind in kinds]
    return found if any(one is not None for one in found) else []


def _llama_entries(options: Options, turning: int) -> Iterator[Entry]:
    order = pairs_side_by_side(options["head_dim"], turning)
    shape = HeadShape(options["heads"], options["key_value_heads"], order)
    inputs = _parts(options["attention_bias"] != "none")
    yield same("token_embedding.weight", "model.embed_tokens.weight")
    for layer in range(options["layers"]):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        yield same(f"{here}.attention_norm.weight", f"{there}.input_layernorm.weight")
        yield same(f"{here}.perceptron_norm.weight", f"{there}.post_attention_layernorm.weight")
        here, there = f"{here}.attention", f"{there}.self_attn"
        for part in inputs:
            query, key, value = (f"{there}.{letter}_proj.{part}" for letter in "qkv")
            yield separate(f"{here}.input.{part}", (query, key, value), shape)
        for part in _parts(options["attention_bias"] == "all"):
            yield same(f"{here}.output.{part}", f"{there}.o_proj.{part}")
        for ours, theirs in (("query", "q"), ("key", "k")) if options["qk_norm"] else ():
            yield ordered(f"{here}.{ours}_norm.weight", f"{there}.{theirs}_norm.weight", order)
        here, there = f"blocks.{layer}", f"model.layers.{layer}.mlp"
        for part in _parts(options["perceptron_bias"]):
            for ours, theirs in (("gate", "gate_proj"), ("expand", "up_proj"), ("contract", "down_proj")):
                yield same(f"{here}.{ours}.{part}", f"{there}.{theirs}.{part}")
    yield same("final_norm.weight", "model.norm.weight")
    yield from _head(options, "lm_head.weight")


def _parts(biased: bool) -> tuple[str, ...]:
    """The tensors of a projection."""
    return ("weight", "bias") if biased else ("weight",)


def _rope(config: Any) -> PluginRef:
    """RoPE, in every layer or in those that a pattern says."""
    written = config.rope_parameters
    kinds = [name for name, value in written.items() if isinstance(value, dict)]
    if kinds:
        raise UserError(f"it has RoPE of its own in layers of {join_and(kinds)}, which no encoding here has.")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    share = written.get("partial_rotary_factor")
    share = 1.0 if share is None else share
    if not isinstance(written["rope_theta"], int | float):
        raise UserError(f"it says rope_theta={written['rope_theta']}, which is no number.")
    options: Options = {"base": float(written["rope_theta"])}
    if written["rope_type"] == PROPORTIONAL:
        turning = 2 * int(share * width // 2)
        if turning < width:
            options["frequencies"] = turning / width
    else:
        if share != 1 and config.model_type != "gpt_neox":
            raise UserError(f"a partial_rotary_factor of {share} is followed in GPT-NeoX alone.")
        turning = int(width * share)
        if turning < width:
            options["rotated"] = turning / width
    rope: PluginRef = {"rope": options} if turning else "none"
    turns = getattr(config, "no_rope_layers", None)
    if turns and len(turns) != config.num_hidden_layers:
        raise UserError(f"its no_rope_layers are {len(turns)}, of {config.num_hidden_layers} layers.")
    if not turns or all(turns):
        return rope
    if not any(turns):
        return "none"
    return {"layers": _pattern(options, [bool(one) for one in turns])}


def _pattern(options: Options, turns: list[bool]) -> list[PluginRef]:
    """The shortest pattern that goes on as the layers do."""
    period = next(
        count
        for count in range(2, len(turns) + 1)
        if all(one == turns[layer % count] for layer, one in enumerate(turns))
    )
    found: list[PluginRef] = []
    for one, run in itertools.groupby(turns[:period]):
        times = {"times": count} if (count := len(list(run))) > 1 else {}
        found.append({"rope": options, **times} if one else {"none": {}, **times})
    return found


def _norm(ours: str, theirs: str) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        yield same(f"{ours}.{part}", f"{theirs}.{part}")


def _head(options: Options, theirs: str) -> Iterator[Entry]:
    if not options["tied"]:
        yield same("head.weight", theirs)


def _activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise UserError(f"the activation '{name}' is none of those here: {join_and(ACTIVATIONS)} are.")
    return ACTIVATIONS[name]


def _of_llama(
    kind: str, name: str, other: Mapping[str, Any] = {}, further: frozenset[str] = frozenset()
) -> Architecture:
    """An architecture with Llama's blocks, but for options that are always other ones."""
    return Architecture(
        kind=kind,
        name=name,
        prefix="model.",
        head="lm_head.weight",
        followed=frozenset(
            {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"}
            | {"intermediate_size", "hidden_act", "rms_norm_eps", "attention_bias", "tie_word_embeddings"}
            | {"max_position_embeddings", "rope_parameters"}
        )
        | further,
        options=lambda config: {**_llama_options(config), **other},
        encoding=_rope,
        entries=_llama_entries,
        buffers=(".rotary_emb.inv_freq",),
    )


_WINDOWS = frozenset({"sliding_window", "use_sliding_window", "layer_types"})

_ALL = (
    _of_llama("llama", "LlamaForCausalLM", further=frozenset({"mlp_bias"})),
    _of_llama("mistral", "MistralForCausalLM", further=frozenset({"sliding_window"})),
    _of_llama("qwen2", "Qwen2ForCausalLM", {"attention_bias": "inputs"}, _WINDOWS),
    _of_llama("qwen3", "Qwen3ForCausalLM", {"qk_norm": True}, _WINDOWS),
    _of_llama(
        "smollm3",
        "SmolLM3ForCausalLM",
        further=_WINDOWS | {"mlp_bias", "no_rope_layers", "no_rope_layer_interval"},
    ),
    Architecture(
        kind="gpt2",
        name="GPT2LMHeadModel",
        prefix="transformer.",
        head="lm_head.weight",
        followed=frozenset(
            {"n_embd", "n_layer", "n_head", "n_inner", "n_positions", "activation_function"}
            | {"layer_norm_epsilon", "tie_word_embeddings"}
        ),
        options=_gpt2_options,
        encoding=lambda config: "learned",
        entries=_gpt2_entries,
        extent="n_positions",
        buffers=(".attn.bias", ".attn.masked_bias"),
    ),
    Architecture(
        kind="gpt_neox",
        name="GPTNeoXForCausalLM",
        prefix="gpt_neox.",
        head="embed_out.weight",
        followed=frozenset(
            {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"}
            | {"layer_norm_eps", "use_parallel_residual", "tie_word_embeddings", "attention_bias"}
            | {"max_position_embeddings", "rope_parameters"}
        ),
        options=_neox_options,
        encoding=_rope,
        entries=_neox_entries,
        buffers=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
    ),
    Architecture(
        kind="mpt",
        name="MptForCausalLM",
        prefix="transformer.",
        head="lm_head.weight",
        followed=frozenset(
            {"d_model", "n_layers", "n_heads", "max_seq_len", "layer_norm_epsilon", "tie_word_embeddings"}
        ),
        options=_mpt_options,
        encoding=lambda config: "alibi",
        entries=_mpt_entries,
        extent="max_seq_len",
    ),
    Architecture(
        kind="bloom",
        name="BloomForCausalLM",
        prefix="transformer.",
        head="lm_head.weight",
        followed=frozenset(
            {"hidden_size", "n_layer", "n_head", "seq_length", "layer_norm_epsilon", "tie_word_embeddings"}
        ),
        options=_bloom_options,
        encoding=lambda config: "alibi",
        entries=_bloom_entries,
        extent="seq_length",
    ),
)

ARCHITECTURES = {each.kind: each for each in _ALL}
"""All that can be followed, by their ``model_type``."""
