"""The configuration of transformers that says what a model here is.

Which architecture has room for a model is not listed anywhere: a configuration is written for each, read back
as that of any published model is, and fits if it says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from pebench.encoding_config import encoding_config
from pebench.errors import UserError
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation, Geometry
from pebench.pretrained.architecture import Architecture, Options
from pebench.pretrained.architectures import ACTIVATIONS, ARCHITECTURES
from pebench.pretrained.hf_model import transformers_library
from pebench.pretrained.rope_parameters import MAPS, PROPORTIONAL
from pebench.specification.run_spec import PluginConfig

_OF_THEIR_OWN = {"gpt2": "learned", "mpt": "alibi", "bloom": "alibi"}
"""The encoding of architectures that have one of their own; all others turn, or have none."""

_NAMES = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}


class Model(NamedTuple):
    """A language model here.

    Attributes:
        options: of its decoder.
        geometry: with the extent that it was trained for.
        vocabulary: tokens that it tells apart.
        encoding: that it has.
        way: the frequency map that it was trained with.
    """

    options: DecoderOptions
    geometry: Geometry
    vocabulary: int
    encoding: PluginConfig
    way: Extrapolation

    @property
    def rope(self) -> PluginConfig | None:
        """Its rotary encoding, None where it has none."""
        return next((part for part in self.encoding.parts if part.name == "rope"), None)


class Written(NamedTuple):
    """A configuration of transformers. architecture: that it is for. config: it. options: of it, as they are
    read back."""

    architecture: Architecture
    config: Any
    options: Options


def configuration(model: Model) -> Written:
    """The configuration under which transformers computes what a model does.

    Raises:
        UserError: there is none.
    """
    _refuse_encoding(model)
    transformers = transformers_library()
    for architecture in ARCHITECTURES.values():
        settings = _settings(architecture.kind, model)
        if settings is None:
            continue
        ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
        config = transformers.AutoConfig.for_model(
            architecture.kind, vocab_size=model.vocabulary, **ends, **settings
        )
        options = architecture.options(config)
        try:
            encoding = encoding_config(architecture.encoding(config))
        except UserError:
            continue
        there = DecoderOptions.model_validate(options)
        if _facts(there, encoding, model.geometry) == _facts(model.options, model.encoding, model.geometry):
            config.architectures = [architecture.name]
            return Written(architecture, config, options)
    if model.encoding.name == "alibi":
        raise UserError(
            "transformers has ALiBi in the blocks of BLOOM, which have 'embedding_norm: true' and GPT-2's "
            "otherwise, and of MPT, which have 'norm_bias: false', 'attention_bias: none', "
            "'perceptron_bias: false' and 'activation: gelu'; this model is neither."
        )
    raise UserError(
        f"no architecture of transformers has room for '{model.encoding.label}' in such blocks: "
        f"{_missing(model)}."
    )


def rope_parameters(options: Mapping[str, Any], way: Extrapolation, geometry: Geometry) -> dict[str, Any]:
    """RoPE with a frequency map as transformers writes it.

    Args:
        options: of the encoding. way: the map. geometry: of the model.

    Raises:
        UserError: transformers has no such RoPE, or no such map.
    """
    base = options["base"]
    turning = round(geometry.head_dim * options["rotated"])
    kept = 2 * round(turning // 2 * options["frequencies"])
    found: dict[str, Any] = {"rope_theta": base, "rope_type": "default"}
    if turning < geometry.head_dim:
        found["partial_rotary_factor"] = _share(turning, geometry.head_dim)
    given = _given(way.options)
    if kept < turning:
        if turning < geometry.head_dim or way.name not in ("extend", "pi"):
            raise UserError(
                "transformers has RoPE that drops its lowest frequencies where all channels turn, without a "
                "frequency map or with 'pi'."
            )
        found |= {"rope_type": PROPORTIONAL, "partial_rotary_factor": _share(kept, geometry.head_dim)}
    if way.name == "extend":
        return found
    names = {ours: theirs for theirs, ours in MAPS.items()}
    if "factor" not in given:
        raise UserError(
            f"the frequency map '{way.method}' grows with the extent that is served, and transformers has it "
            f"with a constant factor alone: {{{way.name}: {{factor: 4}}}}."
        )
    if way.name == "ntk":
        return found | {"rope_theta": base * given["factor"] ** (turning / (turning - 2))}
    if given.pop("ramp", "pairs") != "pairs":
        raise UserError("transformers has YaRN's ramp in pairs alone, as in the published code.")
    original = given.pop("original_max_position_embeddings", None)
    if way.name in ("yarn", "llama3", "longrope"):
        given["original_max_position_embeddings"] = original or geometry.extent[0]
    elif original not in (None, geometry.extent[0]):
        raise UserError(f"transformers has no 'original_max_position_embeddings' in '{names[way.name]}'.")
    if way.name == "longrope":
        even = [1.0] * (turning // 2)
        given = {"short_factor": even, "long_factor": even, **given}
    return found | ({} if kept < turning else {"rope_type": names[way.name]}) | given


def _share(turning: int, width: int) -> float:
    """A share of the channels that transformers, which rounds down, takes for so many."""
    share = turning / width
    return share if int(width * share) == turning else (turning + 0.5) / width


def _given(options: BaseModel | None) -> dict[str, Any]:
    if options is None:
        return {}
    return {name: value for name, value in options.model_dump(mode="json").items() if value is not None}


def _settings(kind: str, model: Model) -> dict[str, Any] | None:
    """The configuration of a model for an architecture, None where the encoding alone rules it out."""
    options, geometry = model.options, model.geometry
    layout = options.layout(geometry)
    common: dict[str, Any] = {"tie_word_embeddings": options.tied}
    only = _OF_THEIR_OWN.get(kind)
    if only != model.encoding.name and (only or model.encoding.name in _OF_THEIR_OWN.values()):
        return None
    if kind == "gpt2":
        return common | {
            "n_embd": geometry.width,
            "n_layer": geometry.layers,
            "n_head": geometry.heads,
            "n_inner": layout.inner,
            "n_positions": geometry.extent[0],
            "activation_function": _NAMES[layout.activation],
            "layer_norm_epsilon": layout.norm_epsilon,
            "attn_pdrop": 0.0,
            "resid_pdrop": options.dropout,
            "embd_pdrop": options.dropout,
        }
    if kind == "mpt":
        return common | {
            "d_model": geometry.width,
            "n_layers": geometry.layers,
            "n_heads": geometry.heads,
            "max_seq_len": geometry.extent[0],
            "layer_norm_epsilon": layout.norm_epsilon,
            "resid_pdrop": options.dropout,
            "emb_pdrop": options.dropout,
        }
    if kind == "bloom":
        return common | {
            "hidden_size": geometry.width,
            "n_layer": geometry.layers,
            "n_head": geometry.heads,
            "seq_length": geometry.extent[0],
            "layer_norm_epsilon": layout.norm_epsilon,
            "hidden_dropout": options.dropout,
        }
    rope = model.rope
    turns = [part.name == "rope" for part in _by_layer(model.encoding, geometry.layers)]
    # GPT-NeoX turns a share of the channels, so it can turn none.
    turned = 0.0 if kind == "gpt_neox" else 1.0
    none = {"base": 10000.0, "rotated": turned, "frequencies": 1.0}
    common |= {
        "hidden_size": geometry.width,
        "num_hidden_layers": geometry.layers,
        "num_attention_heads": geometry.heads,
        "intermediate_size": layout.inner,
        "hidden_act": _NAMES[layout.activation],
        "max_position_embeddings": geometry.extent[0],
        "rope_parameters": rope_parameters(none if rope is None else rope.options, model.way, geometry),
    }
    if kind == "gpt_neox":
        common["rope_parameters"].setdefault("partial_rotary_factor", 1.0)
        return common | {
            "layer_norm_eps": layout.norm_epsilon,
            "use_parallel_residual": layout.parallel,
            "attention_bias": layout.attention_bias == "all",
            "hidden_dropout": options.dropout,
        }
    common |= {"num_key_value_heads": layout.key_value_heads, "rms_norm_eps": layout.norm_epsilon}
    windows = [options.window(layer) for layer in range(geometry.layers)]
    sizes = {size for size in windows if size is not None}
    size = min(sizes) if sizes else None
    if kind != "qwen2":
        common |= {"head_dim": geometry.head_dim, "attention_bias": layout.attention_bias == "all"}
    if kind in ("llama", "smollm3"):
        common |= {"mlp_bias": layout.perceptron_bias}
    if kind == "mistral":
        del common["attention_bias"]
        return common | {"sliding_window": size}
    if kind == "llama":
        return common
    common |= {
        "use_sliding_window": size is not None,
        "sliding_window": size,
        "layer_types": ["full_attention" if one is None else "sliding_attention" for one in windows],
    }
    return common | ({"no_rope_layers": [int(one) for one in turns]} if kind == "smollm3" else {})


def _by_layer(encoding: PluginConfig, layers: int) -> list[PluginConfig]:
    """The encoding of each layer."""
    if encoding.name != "layers":
        return [encoding] * layers
    parts = [
        PluginConfig(**{key: value for key, value in part.items() if key != "times"})
        for part in encoding.options["parts"]
        for _ in range(part.get("times", 1))
    ]
    return [parts[layer % len(parts)] for layer in range(layers)]


def _facts(options: DecoderOptions, encoding: PluginConfig, geometry: Geometry) -> tuple[Any, ...]:
    """All that decides the logits of a decoder beside its weights and the frequencies of its rotations."""
    sizes = options.geometry(geometry.extent[0])
    windows = [options.window(layer) for layer in range(geometry.layers)]
    turning = [
        (part.name, *_turning(part.options, geometry.head_dim))
        for part in _by_layer(encoding, geometry.layers)
    ]
    return (
        *(sizes.width, sizes.heads, sizes.layers, sizes.head_dim),
        *options.layout(geometry),
        *windows,
        *turning,
        *(options.embedding_norm, options.tied, options.attention_softcap, options.logit_softcap),
    )


def _turning(options: Mapping[str, Any], width: int) -> tuple[int, int]:
    """How many channels of a head a rotary encoding takes in pairs, and how many pairs of them turn."""
    turning = round(width * options.get("rotated", 0))
    return turning, round(turning // 2 * options.get("frequencies", 1))


def _refuse_encoding(model: Model) -> None:
    """
    Raises:
        UserError: no architecture of transformers has the encoding, whatever its blocks.
    """
    names = {part.name for part in model.encoding.parts}
    known = model.encoding.name in _OF_THEIR_OWN.values() or names <= {"rope", "none"}
    if model.encoding.name == "compose" or not known:
        raise UserError(f"transformers has no architecture with the encoding '{model.encoding.label}'.")


def _missing(model: Model) -> str:
    layout = model.options.layout(model.geometry)
    facts: Mapping[str, Any] = layout._asdict() | {
        "windows": list(model.options.windows) or None,
        "softcaps": (model.options.attention_softcap, model.options.logit_softcap),
        "embedding_norm": model.options.embedding_norm,
        "head_dim": model.geometry.head_dim,
    }
    return ", ".join(f"{name} {value}" for name, value in facts.items())
