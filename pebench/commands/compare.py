"""`pebench compare`: is A better than B, on what evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pebench.parameters import runs_option


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--sweep", metavar="SWEEP", help="The sweep, where several have both encodings.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="What to compare by. [default: the task's own]"
)
@runs_option
def command(first: str, second: str, sweep: str | None, metrics: tuple[str, ...], runs: Path) -> None:
    """Say whether A is better than B, and on what evidence.

    A and B are two encodings of a sweep, as its tables call them; two sweeps, whose encodings of one name are
    compared; or two runs, by their ids or the beginnings of these. Scores are compared in pairs of equal
    seeds at every extent, and a difference counts as shown below 5 % after Holm's correction over all.

    \b
    Examples:
      pebench compare rope alibi
      pebench compare rope 'rope, yarn' --sweep quickstart --metric perplexity
      pebench compare quickstart my-quickstart
    """
    from pebench.leaderboard.head_to_head import head_to_head
    from pebench.leaderboard.sides import find_sides

    collection, sides = find_sides(runs, (first, second), sweep)
    _print(sides, head_to_head(collection, sides, metrics))


def _print(sides: Any, found: Any) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for letter, side in zip("AB", sides, strict=True):
        console.print(Text(f"{letter}: {side.name}"))
    for contest in found.contests:
        console.print()
        console.print(Text(" · ".join(_title(sides, contest)), style="bold"))
        for metric in dict.fromkeys(row.metric for row in contest.rows):
            _print_rows([row for row in contest.rows if row.metric == metric], contest, console)
        for note in contest.notes:
            console.print(Text(f"- {note.replace('`', '')}"))
        for letter, ids in zip("AB", contest.run_ids, strict=True):
            console.print(Text(f"Runs of {letter}: {' '.join(ids)}", style="dim"))
    console.print()
    if found.others:
        console.print(Text(f"Also measured, for --metric: {', '.join(found.others)}", style="dim"))
    console.print(Text(found.verdict, style="bold"))


def _title(sides: Any, contest: Any) -> list[str]:
    group = contest.groups[0]
    task = " ".join(group.table)
    return [group.label, task] if sides[0].kind == "sweep" else [task]


def _print_rows(rows: list[Any], contest: Any, console: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pebench.leaderboard.wording import difference_of, metric_heading, number, p_text
    from pebench.scores import extent_name

    console.print(metric_heading(rows[0].metric, rows[0].record))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("extent", no_wrap=True)
    for heading in ("A", "B", "A − B", "A won", "p", "Holm's p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for row in rows:
        trained = " (trained)" if row.extent == contest.groups[0].trained else ""
        means = ["" if value != value else number(value) for value in (row.first, row.second)]
        table.add_row(
            f"{extent_name(row.extent)}{trained}",
            *means,
            difference_of(row.difference, row.half_width, row.first),
            f"{row.won} of {row.pairs}" if row.pairs else "",
            p_text(row.p),
            p_text(row.p_holm),
            {1: "A", -1: "B", 0: "neither" if row.pairs else ""}[row.shown],
        )
    console.print(table)
    console.print()
