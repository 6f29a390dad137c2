"""The sweep that asks: every frequency map with every factor that an extent calls for, by perplexity and by
retrieval, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebench.data.cache import cache_folder, digest
from pebench.encoding_config import extrapolation
from pebench.errors import UserError
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation
from pebench.pretrained.hf_model import HfModel
from pebench.resolve import OWN
from pebench.specification.plugin_ref import ExtrapolationRef, split
from pebench.sweeping.names import hyphened

TAIL = 256
"""Tokens at the end of each stretch that are scored under every extent; fewer where an extent is smaller."""

STRETCHES = 32
"""Of the largest extent, that are evaluated where nobody says how much: as many texts as a mean and its
interval need, however long the text is."""

_CONSTANT = ("pi", "ntk", "yarn", "llama3", "dynamic")
"""Maps that take a constant factor; `longrope` needs lists that a search has found."""


@dataclass(frozen=True)
class Method:
    """A way past the trained extent.

    Attributes:
        label: as results call it.
        name: of the map; ``extend`` for plain RoPE.
        factor: by which the trained extent is stretched, 1 for what the model was trained with.
        way: with its options.
    """

    label: str
    name: str
    factor: float
    way: Extrapolation


@dataclass(frozen=True)
class Plan:
    """The question, ready to be asked.

    Attributes:
        model: the published one.
        trained: extent that it was trained for.
        extents: to evaluate at, the trained one among them.
        methods: what the model was trained with first.
        sweep: the keys of the sweep's file.
    """

    model: HfModel
    trained: int
    extents: tuple[int, ...]
    methods: tuple[Method, ...]
    sweep: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return str(self.sweep["name"])

    @property
    def tail(self) -> int:
        """Tokens of the fixed tail."""
        return min(TAIL, *self.extents)


def plan(
    model: HfModel,
    data: Sequence[Path],
    extents: Sequence[int],
    factors: Sequence[float] = (),
    tokens: int | None = None,
    examples: int = 5,
    device: str = "auto",
) -> Plan:
    """The sweep for a model.

    Args:
        model: with rotary encoding.
        data: files or folders of text.
        extents: that are wanted; one of them is beyond the trained extent.
        factors: of the maps, by default those by which the extents exceed the trained one.
        tokens: of the text to evaluate on, from all over its documents; by default those of `STRETCHES`.
        examples: texts of the retrieval for each depth and extent; 0 for no retrieval.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: there is nothing to extend, or no text.
    """
    (trained,) = model.geometry.extent
    if not any(part.name == "rope" for part in model.encoding.parts):
        raise UserError(
            f"'{model.label}' has the encoding '{model.encoding.label}', and RoPE alone has frequencies to "
            "map."
        )
    if not any(extent > trained for extent in extents):
        raise UserError(
            f"'{model.label}' was trained for {trained} positions: name an extent beyond with --extents."
        )
    wanted = tuple(sorted({trained, *extents}))
    factors = factors or [extent / trained for extent in wanted if extent > trained]
    methods = tuple(_methods(model, sorted({float(factor) for factor in factors})))
    common = {
        "extent": trained,
        "evaluate": list(wanted),
        "extrapolations": [_reference(method) for method in methods],
    }
    text: dict[str, Any] = {"data": {"validation": str(_text(data))}, "protocols": ["fixed-tail"]}
    text |= {"tail": min(TAIL, *wanted), "tokens": tokens or STRETCHES * wanted[-1]}
    tasks: list[dict[str, Any]] = [{"language-modeling": common | text, "from": model.reference}]
    if examples:
        retrieval = {"retrieval": common | {"examples": examples}, "from": model.reference}
        tasks.append(retrieval)
    plain = hyphened(model.label.partition(":")[2]) or "model"
    sweep = {
        "name": f"extend-{plain}"[:100].strip("-"),
        "encodings": [OWN],
        "tasks": tasks,
        "seeds": 1,
        "train": {"steps": 0},
        "execution": {"device": device},
    }
    return Plan(model, trained, wanted, methods, sweep)


def _methods(model: HfModel, factors: Sequence[float]) -> list[Method]:
    """What the model was trained with, and every map with every factor on top of that."""
    cls = encodings.load("rope")
    own = model.extrapolation or "extend"
    name, options = split(own, "extrapolation")
    way = extrapolation(cls, own)
    found = [Method(way.method, name, 1.0, way)]
    if name != "extend":
        plain = extrapolation(cls, "extend")
        found.append(Method(plain.method, "extend", 1.0, plain))
    before = float(options.get("factor", 1.0))
    original = options.get("original_max_position_embeddings") or model.geometry.extent[0] / (
        before if name == "pi" else 1
    )
    for factor in factors:
        for each in _CONSTANT:
            given: dict[str, Any] = dict(options) if each == name else {}
            given["factor"] = before * factor
            if original != model.geometry.extent[0]:
                given["original_max_position_embeddings"] = round(original)
            way = extrapolation(cls, {each: given})
            found.append(Method(way.method, each, factor, way))
    return found


def _reference(method: Method) -> ExtrapolationRef:
    if method.way.options is None:
        return method.name
    given = method.way.options.model_dump(mode="json", exclude_defaults=True)
    return {method.name: given} if given else method.name


def _text(data: Sequence[Path]) -> Path:
    """The file or the folder of a text; several as links in a folder of the cache."""
    for path in data:
        if not path.exists():
            raise UserError(f"there is no text '{path}'.")
    paths = [path.resolve() for path in data]
    if len(paths) == 1:
        return paths[0]
    folder = cache_folder() / "texts" / digest([str(path) for path in paths])
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        link = folder / f"{number:04d}-{path.name}"
        if not link.is_symlink():
            link.symlink_to(path)
    return folder
