"""`pebench list`: which encodings and tasks there are."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command("list")
@click.argument("kind", type=click.Choice(["encodings", "tasks"]), required=False)
@click.option("--axes", type=click.IntRange(min=1), help="Only what serves so many position axes.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with a list a kind.")
def command(kind: str | None, axes: int | None, as_json: bool) -> None:
    """List the encodings and the tasks, built-in ones and plugins.

    The columns of an encoding: how many position axes it serves, and where it acts: I on the embeddings, R on
    queries and keys, B on the attention logits from positions, C on them from content, T on their
    temperature, W on which keys are seen.

    \b
    Examples:
      pebench list
      pebench list encodings --axes 2
    """
    from pebench.plugins.registry import encodings, tasks

    registries = {"encodings": encodings, "tasks": tasks}
    titles = [kind] if kind else list(registries)
    found = {title: _objects(registries[title], axes) for title in titles}
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for title, objects in found.items():
        _print(title, objects)


def _objects(registry: Any, wanted: int | None) -> list[dict[str, Any]]:
    from pebench.errors import UserError

    found = []
    for name, origin in registry.origins().items():
        try:
            facts = registry.literals(name)
        except UserError as error:
            found.append({"name": name, "provider": origin.provider, "problem": str(error)})
            continue
        axes = facts.get("axes", (1,))
        axes = tuple(axes) if isinstance(axes, tuple | list) else (axes,)
        if wanted is None or wanted in axes:
            told = {key: facts[key] for key in ("acts", "item", "summary") if key in facts}
            found.append({"name": name, "provider": origin.provider, "axes": axes, **told})
    return found


def _print(title: str, objects: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pebench.machine.console import plain_console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    telling = "acts" if title == "encodings" else "item"
    for heading in ("name", "axes", telling):
        table.add_column(heading, no_wrap=True)
    table.add_column("summary", overflow="fold")
    for one in objects:
        if "problem" in one:
            table.add_row(one["name"], "", "", Text(one["problem"], style="red"))
            continue
        summary = one.get("summary", "") + ("" if one["provider"] == "pebench" else f" [{one['provider']}]")
        axes = " ".join(map(str, one["axes"]))
        table.add_row(one["name"], axes, one.get(telling) or "-", Text(summary))
    plain_console().print(table)
