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
from pebench.pretrained.architectures import (
    ACTIVATIONS,
    ARCHITECTURES,
    MAPS,
    Architecture,
    Options,
)
from pebench.pretrained.hf_model import transformers_library
from pebench.spec import PluginConfig

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
    raise UserError(
        f"no architecture of transformers has room for '{model.encoding.label}' in such blocks: "
        f"{_missing(model)}."
    )


def rope_parameters(base: float, share: float, way: Extrapolation, geometry: Geometry) -> dict[str, Any]:
    """RoPE with a frequency map as transformers writes it.

    Args:
        base: of the frequencies. share: of the channels of a head that turn. way: the map.
        geometry: of the model.

    Raises:
        UserError: transformers has no such map.
    """
    turning = round(geometry.head_dim * share)
    found: dict[str, Any] = {"rope_theta": base, "rope_type": "default"}
    if turning < geometry.head_dim:
        # They round down.
        exact = int(geometry.head_dim * share) == turning
        found["partial_rotary_factor"] = share if exact else (turning + 0.5) / geometry.head_dim
    given = _given(way.options)
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
    return found | {"rope_type": names[way.name], **given}


def _given(options: BaseModel | None) -> dict[str, Any]:
    if options is None:
        return {}
    return {name: value for name, value in options.model_dump(mode="json").items() if value is not None}


def _settings(kind: str, model: Model) -> dict[str, Any] | None:
    """The configuration of a model for an architecture, None where the encoding alone rules it out."""
    options, geometry = model.options, model.geometry
    layout = options.layout(geometry)
    common: dict[str, Any] = {"tie_word_embeddings": options.tied}
    if kind == "gpt2":
        return (
            None
            if model.encoding.name != "learned"
            else common
            | {
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
        )
    if model.encoding.name == "learned":
        return None
    rope = model.rope
    turns = [part.name == "rope" for part in _by_layer(model.encoding, geometry.layers)]
    # GPT-NeoX turns a share of the channels, so it can turn none.
    share = 0.0 if kind == "gpt_neox" else 1.0
    base, share = (rope.options["base"], rope.options["rotated"]) if rope is not None else (10000.0, share)
    common |= {
        "hidden_size": geometry.width,
        "num_hidden_layers": geometry.layers,
        "num_attention_heads": geometry.heads,
        "intermediate_size": layout.inner,
        "hidden_act": _NAMES[layout.activation],
        "max_position_embeddings": geometry.extent[0],
        "rope_parameters": rope_parameters(base, share, model.way, geometry),
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
        (part.name, round(geometry.head_dim * part.options.get("rotated", 0)))
        for part in _by_layer(encoding, geometry.layers)
    ]
    return (
        *(sizes.width, sizes.heads, sizes.layers, sizes.head_dim),
        *options.layout(geometry),
        *windows,
        *turning,
        *(options.tied, options.attention_softcap, options.logit_softcap),
    )


def _refuse_encoding(model: Model) -> None:
    """
    Raises:
        UserError: no architecture of transformers has the encoding, whatever its blocks.
    """
    names = {part.name for part in model.encoding.parts}
    if model.encoding.name == "alibi":
        raise UserError(
            "transformers has ALiBi in blocks of its own alone: BLOOM's norm their embeddings, and MPT's "
            "have no biases, so that neither computes what this model does."
        )
    if model.encoding.name == "compose" or names - {"rope", "none", "learned"} or names > {"learned"}:
        raise UserError(f"transformers has no architecture with the encoding '{model.encoding.label}'.")
    ropes = [part.options for part in model.encoding.parts if part.name == "rope"]
    if any(options["frequencies"] != 1 for options in ropes):
        raise UserError(
            "transformers has no RoPE that drops its lowest frequencies: 'frequencies' must be 1."
        )


def _missing(model: Model) -> str:
    layout = model.options.layout(model.geometry)
    facts: Mapping[str, Any] = layout._asdict() | {
        "windows": list(model.options.windows) or None,
        "softcaps": (model.options.attention_softcap, model.options.logit_softcap),
        "head_dim": model.geometry.head_dim,
    }
    return ", ".join(f"{name} {value}" for name, value in facts.items())
