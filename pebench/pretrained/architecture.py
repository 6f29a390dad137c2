"""What is known of an architecture of transformers, and which settings of a configuration nothing follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pebench.errors import UserError, shown
from pebench.pretrained.weight_names import Entry
from pebench.specification.plugin_ref import PluginRef

Options = dict[str, Any]

_HARMLESS = {
    *("architectures", "model_type", "transformers_version", "_name_or_path", "dtype", "torch_dtype"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
    *("unk_token_id", "use_cache", "initializer_range", "id2label", "label2id", "problem_type"),
    *("attention_dropout", "hidden_dropout", "classifier_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"),
    *("emb_pdrop", "embedding_fraction", "init_config", "init_device", "tokenizer_name", "verbose"),
    *("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "skip_bias_add"),
    *("offset_alibi", "slow_but_exact", "learned_pos_emb", "norm_type", "task_specific_params"),
    *("output_attentions", "output_hidden_states", "return_dict", "is_decoder", "vocab_size"),
    *("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type"),
    *("summary_use_proj", "n_ctx", "reorder_and_upcast_attn", "pretraining_tp", "is_llama_config"),
    *("rope_interleaved", "transformers.js_config", "max_window_layers", "auto_map"),
    *("chunk_size_feed_forward", "original_max_position_embeddings"),
    *("attn_config.attn_impl", "attn_config.attn_pdrop"),
    *("rope_theta", "rope_scaling", "rotary_pct", "rotary_emb_base", "partial_rotary_factor"),
}
"""Settings that change no logit of a model that is evaluated, or that transformers has read into others."""

_ON = {"is_causal": True}
"""Settings that no configuration has of itself, and that transformers takes for on where they are missing."""


class Architecture(NamedTuple):
    """One of transformers' models.

    Attributes:
        kind: its ``model_type``.
        name: of its class.
        prefix: before the names of all weights but the head's; some files leave it out.
        head: name of the weights that score the next token.
        followed: settings of its configuration that `options`, `encoding` and `entries` follow.
        options: of the model here.
        encoding: of the model.
        entries: its weights, given our options and how many channels of a head turn.
        extent: the setting that says how many positions it was trained for.
        buffers: ends of the names of tensors in its files that are no weights.
    """

    kind: str
    name: str
    prefix: str
    head: str
    followed: frozenset[str]
    options: Callable[[Any], Options]
    encoding: Callable[[Any], PluginRef]
    entries: Callable[[Options, int], Iterator[Entry]]
    extent: str = "max_position_embeddings"
    buffers: tuple[str, ...] = ()


def refuse_unfollowed(config: Any, architecture: Architecture, label: str) -> None:
    """Refuses a configuration that cannot be followed.

    Args:
        config: as transformers reads it. architecture: of it. label: what the model is called.

    Raises:
        UserError: it says something that changes the logits and that no model here does.
    """
    usual = _flat(_ON | type(config)().to_dict())
    for name, value in _flat(config.to_dict()).items():
        if name in architecture.followed or name in _HARMLESS or name.startswith("_"):
            continue
        if name == "quantization_config" and value:
            how = value.get("quant_method") if isinstance(value, dict) else None
            raise UserError(
                f"'{label}' is quantized{f' ({how})' if how else ''}: models here compute with weights as "
                "they are."
            )
        # What is not there and what is switched off say the same, but off is not the same as on.
        if value != usual.get(name) and (value or usual.get(name)):
            raise UserError(
                f"the configuration of '{label}' says {name}={shown(value)}, which no model here follows."
            )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With the settings of MPT's attention one by one, but for those that every configuration has."""
    inner = settings.get("attn_config")
    if not isinstance(inner, dict):
        return dict(settings)
    own = {f"attn_config.{name}": value for name, value in inner.items() if name not in settings}
    return {name: value for name, value in settings.items() if name != "attn_config"} | own
