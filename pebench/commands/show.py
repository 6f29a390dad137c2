"""`pebench show`: all there is to know of an encoding or a task."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click

from pebench.command_line.completion import plugins
from pebench.command_line.parameter_types import encoding_ref

if TYPE_CHECKING:
    from pebench.errors import UserError
    from pebench.specification.plugin_ref import PluginRef
    from pebench.specification.run_spec import PluginConfig

KERNELS = {
    "fused": "fused (PyTorch's own attention)",
    "factored": "factored (PyTorch's own attention, with the bias as further channels)",
    "blocked": "blocked (128 queries at a time)",
}
"""Meanings of the names of kernels."""


@click.command("show")
@click.argument("name", shell_complete=plugins)
@click.option(
    "--width", type=click.IntRange(min=1), default=256, show_default=True, help="Channels of a token."
)
@click.option("--heads", type=click.IntRange(min=1), default=4, show_default=True, help="Heads of a layer.")
@click.option("--layers", type=click.IntRange(min=1), default=4, show_default=True, help="Layers.")
@click.option(
    "--extent", type=click.IntRange(min=1), default=128, show_default=True, help="Positions an axis."
)
@click.option("--json", "as_json", is_flag=True, help="Print the options as a JSON object.")
def command(name: str, width: int, heads: int, layers: int, extent: int, as_json: bool) -> None:
    """Show the definition of an encoding or a task, its options with types and defaults, and its source.

    A composition is written as in a sweep. 'train', 'execution', 'tune' and 'sweep' show what may stand in
    a sweep's file under these keys, and at its top. The parameters of an encoding are counted for a model of
    the given size.

    \b
    Examples:
      pebench show rope
      pebench show 'learned + rope'
      pebench show '{layers: [{compose: [rope, {window: {size: 512}}], times: 3}, none]}'
      pebench show train
      pebench show t5 --width 768 --heads 12 --layers 12 --extent 1024
    """
    from pebench.errors import UserError
    from pebench.plugins.memo import remembered
    from pebench.plugins.registry import encodings, tasks

    if as_json:
        click.echo(json.dumps(description(name), indent=1))
    elif (ref := _encoding(name)) is not None:
        size = {"width": width, "heads": heads, "layers": layers}
        if width % heads:
            raise UserError(f"--width {width} does not divide into --heads {heads}.")
        page = remembered("encoding", [name, size, extent], lambda: _of_encoding(ref, size, extent))
        _print(page, _origin(encodings.origin(name)) if name in encodings.origins() else {})
    elif name in tasks.origins():
        _print(remembered("task", name, lambda: _of_task(name)), _origin(tasks.origin(name)))
    elif name in _SETTINGS:
        model = _settings(name)
        _print(_page([_section(model, {"options": _rows(model, model)})]), {})
    else:
        raise _unknown(name)


def _unknown(name: str) -> UserError:
    from pebench.errors import unknown
    from pebench.plugins.registry import encodings, tasks
    from pebench.specification.plugin_ref import misplaced_options

    known = [*encodings.origins(), *tasks.origins(), *_SETTINGS]
    return misplaced_options("encoding", name, encodings.origins()) or unknown(
        "encoding or task", name, known
    )


def _encoding(name: str) -> PluginRef | None:
    """What names an encoding or a composition, None for what does not."""
    from pebench.plugins.registry import encodings

    ref = encoding_ref(name)
    return ref if name in encodings.origins() or not isinstance(ref, str) or "+" in name else None


_SETTINGS = {
    "train": "pebench.specification.run_spec:Training",
    "execution": "pebench.running.execution:Execution",
    "sweep": "pebench.sweeping.sweep_file:SweepFile",
    "tune": "pebench.sweeping.tune:Tune",
}
"""What a sweep's file is made of, by the key where it stands."""


def _settings(name: str) -> Any:
    module, _, model = _SETTINGS[name].partition(":")
    return getattr(importlib.import_module(module), model)


def description(name: str) -> dict[str, Any]:
    """What ``--json`` prints of a name, from the disk where it was asked for before.

    Raises:
        UserError: nothing is called so.
    """
    from pebench.plugins.memo import remembered

    found: dict[str, Any] = remembered("object", name, lambda: _object(name))
    return found


def _object(name: str) -> dict[str, Any]:
    from pebench.encoding_config import encoding_class, encoding_config
    from pebench.plugins.registry import tasks
    from pebench.specification.options import of_signature
    from pebench.specification.run_spec import COMPOSITIONS

    if (ref := _encoding(name)) is not None:
        config = encoding_config(ref)
        encoding = encoding_class(config.name, config.options)
        parts = config.parts if config.name in COMPOSITIONS else ()
        own = {} if parts else {"options": (of_signature(encoding), encoding)}
        models: dict[str, tuple[Any, type]] = own
        facts: dict[str, Any] = {"name": config.label if parts else name}
        facts |= {"axes": encoding.axes, "acts": encoding.acts, "extrapolations": encoding.extrapolations}
        facts |= {"source": encoding.source, "version": encoding.version}
        if parts:
            facts["parts"] = [{"name": part.name, "options": part.options} for part in parts]
    elif name in tasks.origins():
        task = tasks.load(name)
        models = {"options": (task.Options, task.Options), "model": (task.Model, task.Model)}
        facts = {"axes": task.axes, "causal": task.causal, "item": task.item, "version": task.version}
    elif name in _SETTINGS:
        models, facts = {"options": (_settings(name), _settings(name))}, {}
    else:
        raise _unknown(name)
    return {"name": name, **facts, **{title: _rows(*two) for title, two in models.items()}}


def _rows(model: Any, of: Any, chosen: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """The options of a model, described where the docstrings of a class say what they mean, with the values
    that were chosen where some are not the defaults."""
    described = _described(of)
    rows = [_row(name, field, described) for name, field in model.model_fields.items()]
    values = {row["name"]: row["default"] for row in rows}
    values |= {name: _value(value) for name, value in (chosen or {}).items()}
    if any(values[row["name"]] != row["default"] for row in rows):
        rows = [row | {"chosen": values[row["name"]]} for row in rows]
    return rows


def _row(name: str, field: Any, described: dict[str, str]) -> dict[str, str]:
    """An option in the words of `_options`."""
    default = "required" if field.is_required() else _value(field.get_default(call_default_factory=True))
    return {
        "name": name,
        "type": _type(field.annotation) + _bounds(field.metadata),
        "default": default,
        "meaning": field.description or described.get(name, ""),
    }


def _section(cls: type, tables: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
    """Paragraphs about a class, and tables of options."""
    return {"paragraphs": _paragraphs(cls), "tables": tables}


def _page(sections: list[dict[str, Any]], **facts: str) -> dict[str, Any]:
    """All that is printed of a thing: sections, and facts by name."""
    return {"sections": sections, "facts": facts}


_TOGETHER = {"compose": "all of them in every layer", "layers": "each in layers of its own, again and again"}


def _of_encoding(ref: PluginRef, size: dict[str, int], extent: int) -> dict[str, Any]:
    from pebench.encoding_config import encoding_class, encoding_config
    from pebench.plugins.registry import encodings
    from pebench.specification.options import of_signature
    from pebench.specification.run_spec import COMPOSITIONS

    config = encoding_config(ref)
    encoding = encoding_class(config.name, config.options)
    composed = config.name in COMPOSITIONS
    sections: list[dict[str, Any]] = []
    if composed:
        sections.append({"paragraphs": [f"{config.label}: {_TOGETHER[config.name]}."], "tables": {}})
    for part in {(part.name, repr(part.options)): part for part in config.parts}.values():
        cls = encodings.load(part.name)
        title = f"options of {part.name}" if composed else "options"
        sections.append(_section(cls, {title: _rows(of_signature(cls), cls, part.options)}))
    axes = encoding.axes
    shape = (extent,) * min(axes)
    at = ", ".join(f"{key} {value}" for key, value in size.items())
    facts = {
        "axes": " or ".join(str(number) for number in axes),
        "acts on": _places(encoding.acts),
        "causal only": "yes" if encoding.causal_only else "no",
        "extrapolations": ", ".join(encoding.extrapolations),
        "parameters": f"{_parameters(config, size, shape)} ({at}, extent {'×'.join(map(str, shape))})",
        "kernel path": _kernels(encoding.kernels),
        "cost": encoding.cost,
        "compiles": f"no: {encoding.graph_break}" if encoding.graph_break else "yes, as one graph",
        "identities": _identities(encoding.claims),
        "source": encoding.source,
    }
    return _page(sections, **facts)


def _of_task(name: str) -> dict[str, Any]:
    from pebench.plugins.registry import tasks

    task = tasks.load(name)
    tables = {"options": _rows(task.Options, task.Options), "model": _rows(task.Model, task.Model)}
    attention = "causal" if task.causal else "bidirectional"
    return _page([_section(task, tables)], axes=str(task.axes), attention=attention, counts=task.item)


def _print(page: dict[str, Any], origin: dict[str, str]) -> None:
    for section in page["sections"]:
        click.echo("\n\n".join(map(_wrapped, section["paragraphs"])) + "\n")
        for title, rows in section["tables"].items():
            _options(title, rows)
    _facts(page["facts"] | origin)


def _facts(facts: dict[str, str]) -> None:
    """Names and what is said of them, wrapped beside the names; what is empty is left out."""
    for name, fact in facts.items():
        if fact:
            click.echo(_wrapped(f"{name:16}{fact}", indent=" " * 16))


def _wrapped(text: str, indent: str = "") -> str:
    """The text in lines that fit the terminal, in one line where there is none."""
    from pebench.machine.console import plain_console

    return textwrap.fill(
        text, plain_console().width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _paragraphs(cls: type) -> list[str]:
    """The first line of the file, and the definition that the class gives."""
    summary = (inspect.getdoc(inspect.getmodule(cls)) or "").partition("\n")[0]
    definition = re.split(r"\n+Attributes:\n", inspect.getdoc(cls) or "")[0].strip()
    paragraphs = (" ".join(part.split()) for part in (summary, *definition.split("\n\n")))
    return [paragraph for paragraph in paragraphs if paragraph]


def _options(title: str, rows: list[dict[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pebench.machine.console import plain_console

    if not rows:
        click.echo(f"{title}: none\n")
        return
    headings = [name for name in ("name", "type", "default", "chosen", "meaning") if name in rows[0]]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[heading]) for heading in headings))
    plain_console().print(table)
    click.echo()


def _value(default: Any) -> str:
    if default is None:
        return "none"
    return str(default.model_dump() if hasattr(default, "model_dump") else default)


def _type(annotation: Any) -> str:
    """An annotation in the words of a user: choices, bounds, and ``none`` for what may be left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_type(part) for part in arguments)
    if annotation is NoneType:
        return "none"
    if annotation is Any:
        return "any"
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin in (dict, Mapping):
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    flat = [inner for bound in metadata for inner in getattr(bound, "metadata", [bound])]
    found = ((sign, getattr(bound, name, None)) for bound in flat for name, sign in signs.items())
    return "".join(f" {sign} {value}" for sign, value in found if value is not None)


def _described(cls: type) -> dict[str, str]:
    """Descriptions of options in the docstrings of a module, a class, models that it extends and its
    constructor, by name."""
    from pebench.specification.run_spec import Frozen

    found: dict[str, str] = {}
    extended = [base for base in reversed(cls.__mro__[1:]) if issubclass(base, Frozen)]
    for thing in (inspect.getmodule(cls), *extended, cls, cls.__init__):  # type: ignore[misc]
        section = re.search(
            r"^(?:Args|Attributes|Options):\n((?:[ ]+.*\n?|\n)+)", inspect.getdoc(thing) or "", re.MULTILINE
        )
        name = ""
        for line in section[1].splitlines() if section else ():
            if match := re.match(r"    (\w+)(?: \([^)]*\))?: (.*)", line):
                name = match[1]
                found[name] = match[2].strip()
            elif name and line.strip():
                found[name] += f" {line.strip()}"
    return found


def _places(acts: str) -> str:
    names = {
        "I": "the embeddings (I)",
        "R": "queries and keys (R)",
        "B": "the logits, from positions (B)",
        "C": "the logits, from content (C)",
        "T": "the temperature of the softmax (T)",
        "W": "which keys are seen (W)",
    }
    return ", ".join(names[letter] for letter in acts) or "nothing"


def _parameters(config: PluginConfig, size: dict[str, int], extent: tuple[int, ...]) -> str:
    import torch

    from pebench.encoding_config import build_encoding
    from pebench.errors import UserError
    from pebench.position_encoding import Geometry

    try:
        with torch.device("meta"):
            geometry = Geometry(size["width"], size["heads"], size["layers"], extent)
            encoding = build_encoding(config.name, config.options, geometry)
    except UserError as error:
        return f"unknown: {error}"
    return f"{sum(weight.numel() for weight in encoding.parameters()):,}"


def _kernels(kernels: tuple[str, ...]) -> str:
    """The kernels in words; which of several it is depends on the setting and the options."""
    on_cpu = ", or ".join(KERNELS.get(kernel, kernel) for kernel in kernels if kernel != "flex")
    return on_cpu + ("; flex on CUDA where that is faster" if "flex" in kernels else "")


def _identities(claims: tuple[str, ...]) -> str:
    from pebench.conformance import IDENTITIES

    return "; ".join(
        f"{claim} ({_sentence(IDENTITIES[claim].__doc__ or '')})" for claim in claims if claim in IDENTITIES
    )


def _sentence(text: str) -> str:
    """A docstring as part of another sentence."""
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _origin(origin: Any) -> dict[str, str]:
    provider = "pebench itself" if origin.provider == "pebench" else origin.provider
    return {"provided by": provider, "file": str(origin)}
