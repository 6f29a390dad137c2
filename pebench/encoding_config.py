"""From a reference to an encoding to its options and its class: a plugin, or a composition of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from pebench.attention.composition import Part, composed
from pebench.errors import UserError, join_and, unknown
from pebench.plugins.registry import encodings, reason_with_line
from pebench.position_encoding import Extrapolation, Geometry, PositionEncoding
from pebench.randomness import derive
from pebench.specification.options import label, of_signature, specified, validated
from pebench.specification.plugin_ref import ExtrapolationRef, PluginRef, split
from pebench.specification.run_spec import COMPOSITIONS, PluginConfig


def encoding_config(ref: PluginRef) -> PluginConfig:
    """The encoding of a reference with every option filled in.

    Raises:
        UserError: a name or an option does not exist, or the parts of a composition do not go together.
    """
    if isinstance(ref, Mapping) and set(ref) >= {"name", "options"}:
        # As a specification holds the parts of a composition.
        return encoding_config({ref["name"]: current_options(PluginConfig(**_untimed(ref)))})
    name, options = split(ref, "encoding")
    if name in COMPOSITIONS:
        return _composition(name, options)
    encoding_class = encodings.load(name)
    values = validated(of_signature(encoding_class), options, f"encoding '{name}'")
    return PluginConfig(
        name=name,
        version=encoding_class.version,
        options=specified(values),
        label=label(name, values),
    )


def current_options(config: PluginConfig) -> dict[str, Any]:
    """The options under which the encoding of a specification computes what it did when that was written.

    Raises:
        UserError: there is no such encoding.
    """
    if config.name in COMPOSITIONS:
        return config.options
    cls: type[PositionEncoding] = encodings.load(config.name)
    return cls.former_options(config.version, config.options)


def same_encoding(one: PluginConfig, other: PluginConfig) -> bool:
    """Whether two specifications, of whatever time, have one encoding."""
    return (one.name, current_options(one)) == (other.name, current_options(other))


def encoding_class(name: str, options: Mapping[str, Any]) -> type[PositionEncoding]:
    """The class of an encoding, whose attributes say what it can serve.

    Raises:
        UserError: the name or an option is wrong, or the parts of a composition do not go together.
    """
    if name not in COMPOSITIONS:
        plugin: type[PositionEncoding] = encodings.load(name)
        return plugin
    config = encoding_config({name: dict(options)})
    parts = [encoding_config(part) for part in config.options["parts"]]
    classes = tuple(encoding_class(part.name, part.options) for part in parts)
    try:
        return _composed(name, json.dumps(config.options["parts"], sort_keys=True), classes)
    except ValueError as error:
        raise UserError(f"encoding '{config.label}': {error}.") from error


@lru_cache(maxsize=64)
def _composed(name: str, written: str, classes: tuple[type[PositionEncoding], ...]) -> type[PositionEncoding]:
    """The class of a composition, one for equal compositions: what is compiled for a class serves no other.

    Args:
        name: of the kind of composition.
        written: its parts, as JSON. classes: of the parts.
    """
    refs = json.loads(written)
    parts = [encoding_config(ref) for ref in refs]
    built = [
        Part(part.label, cls, _builder(part, number))
        for number, (part, cls) in enumerate(zip(parts, classes, strict=True))
    ]
    pattern = None
    if name == "layers":
        times = [ref.get("times", 1) for ref in refs]
        pattern = [number for number, count in enumerate(times) for _ in range(count)]
    return composed(built, pattern)


def build_encoding(
    name: str, options: Mapping[str, Any], geometry: Geometry, seed: int = 0
) -> PositionEncoding:
    """An encoding with weights that depend on the seed alone, not on what was built before.

    Args:
        name: of the encoding, or ``compose`` or ``layers``.
        options: of it; those of a composition are its ``parts``.
        geometry: of the model around it.
        seed: of its weights.

    Raises:
        UserError: the name or an option is wrong, or the encoding refuses the geometry.
    """
    cls = encoding_class(name, options)
    keywords: dict[str, Any] = {}
    if name in COMPOSITIONS:
        title = encoding_config({name: dict(options)}).label
    else:
        values = validated(of_signature(cls), dict(options), f"encoding '{name}'")
        keywords = {key: getattr(values, key) for key in type(values).model_fields}
        title = label(name, values)
    require_fit(cls, title, geometry, "the geometry")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "encoding", name))
        try:
            built = cls(geometry, **keywords)
        except ValueError as error:
            raise UserError(f"encoding '{title}': {reason_with_line(error)}.") from error
    if "trained_with" not in vars(built):
        raise UserError(f"encoding '{title}': its constructor must begin with 'super().__init__(geometry)'.")
    return built


def require_fit(cls: type[PositionEncoding], title: str, geometry: Geometry, owner: str) -> None:
    """Refuses an encoding for a model that it cannot serve.

    Args:
        cls: of the encoding.
        title: what it is called.
        geometry: of the model.
        owner: whose model it is, as the end of a sentence: ``"task 'retrieval'"``.

    Raises:
        UserError: it serves another number of axes, or needs causal attention; the sentence names those that
            serve.
    """
    if geometry.axes not in cls.axes:
        raise UserError(
            f"encoding '{title}' serves {_axes(cls.axes)}, but {owner} has {_axes((geometry.axes,))}: "
            f"{_able(geometry)}."
        )
    if geometry.layers < cls.fewest_layers:
        raise UserError(
            f"encoding '{title}' needs {cls.fewest_layers} layers or more, but {owner} has {geometry.layers}."
        )
    if cls.causal_only and not geometry.causal:
        raise UserError(
            f"encoding '{title}' needs causal attention, which {owner} does not have: {_able(geometry)}."
        )


def _able(geometry: Geometry) -> str:
    return f"{join_and(serving(geometry.axes, geometry.causal))} can serve it"


def extrapolation(cls: type[PositionEncoding], ref: ExtrapolationRef) -> Extrapolation:
    """A way past the trained extent as it was written, for an extent to be filled in.

    Raises:
        UserError: the encoding offers no such method, or an option of it is wrong.
    """
    name, options = split(ref, "extrapolation")
    if name not in cls.extrapolations:
        raise unknown("extrapolation", name, cls.extrapolations, "this encoding")
    model = cls.extrapolation_options(name)
    if model is None:
        if options:
            raise UserError(f"extrapolation '{name}' has no options, not {', '.join(map(repr, options))}.")
        return Extrapolation((), name)
    values = validated(model, options, f"extrapolation '{name}'")
    return Extrapolation((), label(name, values), values)


def serving(axes: int, causal: bool) -> list[str]:
    """The names of the encodings that serve so many axes under this kind of attention."""
    facts = {name: encodings.literals(name) for name in encodings.origins()}
    return [
        name
        for name, known in facts.items()
        if axes in known.get("axes", (1,)) and (causal or not known.get("causal_only", False))
    ]


def _composition(name: str, options: Mapping[str, Any]) -> PluginConfig:
    written = options.get("parts")
    if not isinstance(written, Sequence) or isinstance(written, str) or set(options) != {"parts"}:
        raise UserError(
            f"write '{name}: [encoding, encoding]', with options as in '{{rope: {{base: 500}}}}'."
        )
    if len(written) < 2:
        raise UserError(f"'{name}' takes two encodings or more, not {len(written)}.")
    parts, labels = [], []
    for one in written:
        times, ref = _times(one) if name == "layers" else (1, one)
        config = encoding_config(ref)
        part: dict[str, Any] = {"name": config.name, "version": config.version, "options": config.options}
        title = f"({config.label})" if times > 1 and config.name in COMPOSITIONS else config.label
        parts.append(part | ({"times": times} if times > 1 else {}))
        labels.append(f"{times} × {title}" if times > 1 else title)
    title = (" + " if name == "compose" else " / ").join(labels)
    return PluginConfig(name=name, options={"parts": parts}, label=title)


def _times(ref: PluginRef) -> tuple[int, PluginRef]:
    """How many layers in a row an entry of a pattern stands for, and the entry without that."""
    if not isinstance(ref, Mapping) or "times" not in ref:
        return 1, ref
    times = ref["times"]
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= 1000:
        raise UserError(f"'times' is the number of layers in a row, from 1 to 1000, not {times!r}.")
    return times, _untimed(ref)


def _untimed(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "times"}


def _builder(part: PluginConfig, number: int) -> Any:
    def build(geometry: Geometry) -> PositionEncoding:
        # Of its own seed, so that no part depends on how much another one draws.
        return build_encoding(part.name, part.options, geometry, derive(torch.initial_seed(), number))

    return build


def _axes(axes: tuple[int, ...]) -> str:
    numbers = " or ".join(str(number) for number in axes)
    return f"{numbers} position {'axis' if axes == (1,) else 'axes'}"
