"""`pebench compare`: is A better than B, on what evidence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.completion import compared, sweeps
from pebench.command_line.parameter_types import runs_option

if TYPE_CHECKING:
    from rich.console import Console

    from pebench.leaderboard.comparison import ComparedScore, Comparison
    from pebench.leaderboard.operands import Operands
    from pebench.leaderboard.uncertainty import Uncertainty
    from pebench.store.scores import Extent


@click.command("compare")
@click.argument("first", metavar="A", shell_complete=compared)
@click.argument("second", metavar="B", shell_complete=compared)
@click.option(
    "--sweep",
    metavar="SWEEP",
    shell_complete=sweeps,
    help="The sweep, where several have both encodings.",
)
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="What to compare by. [default: the task's own]"
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NUMBER",
    help="A difference that does not matter: are A and B equal within it, and how many seeds would show it?",
)
@runs_option
def command(
    first: str,
    second: str,
    sweep: str | None,
    metrics: tuple[str, ...],
    margin: float | None,
    as_json: bool,
    runs: Path,
) -> int:
    """Say whether A is better than B, and on what evidence.

    A and B are two encodings of a sweep, as its tables call them; two sweeps, whose encodings of one name are
    compared; or two runs, by their ids or the beginnings of these. Scores are compared in pairs of equal
    seeds at every extent, over the seeds and the text where runs kept their scores by document, and a
    difference counts as shown below 5 % after Holm's correction over all that is tested. Where A and B are
    the same runs, nothing is. The exit status is 1 where a damaged run was left out.

    \b
    Examples:
      pebench compare rope alibi
      pebench compare rope 'rope, yarn' --sweep quickstart --metric perplexity
      pebench compare dape fox --margin 0.01
      pebench compare quickstart my-quickstart
    """
    from pebench.leaderboard.comparison import compare
    from pebench.leaderboard.operands import find_operands

    collection, operands = find_operands(runs, (first, second), sweep)
    found = compare(collection, operands, metrics, margin)
    for warning in collection.warnings:
        click.echo(f"pebench: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_object(operands, found), indent=1, allow_nan=False))
    else:
        _print(operands, found)
    return 1 if collection.unreadable else 0


def _object(operands: Operands, found: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it, where what is not known is null."""
    from dataclasses import asdict

    from pebench.store.scores import extent_name

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(inner) for name, inner in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {
        **{letter: operand.name for letter, operand in zip("AB", operands, strict=True)},
        "verdict": found.verdict,
        "pairs": [
            {
                "A": pair.groups[0].label,
                "B": pair.groups[1].label,
                "task": pair.groups[0].task,
                "scores": [
                    {
                        "metric": score.metric,
                        "extent": extent_name(score.extent),
                        "better": {1: "A", -1: "B", 0: None}[score.shown],
                        **known(asdict(score.test)),
                    }
                    for score in pair.scores
                ],
                "notes": pair.notes,
                "runs": dict(zip("AB", pair.run_ids, strict=True)),
            }
            for pair in found.pairs
        ],
    }


def _print(operands: Operands, found: Comparison) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for letter, operand in zip("AB", operands, strict=True):
        console.print(Text(f"{letter}: {operand.name}"))
    for pair in found.pairs:
        console.print()
        group, other = pair.groups
        title = [group.label] if operands[0].kind == "sweep" else []
        both = [setting for setting in group.beside if setting in other.beside]
        if operands[0].kind == "encoding" and both:
            title = [", ".join(both)]
        console.print(Text(" · ".join([*title, " ".join(group.table)]), style="bold"))
        for metric in dict.fromkeys(score.metric for score in pair.scores):
            own = [score for score in pair.scores if score.metric == metric]
            _print_scores(own, group.trained, found.margin, console)
        for note in pair.notes:
            console.print(Text(f"- {note.replace('`', '')}"))
        for letter, ids in zip("AB", pair.run_ids, strict=True):
            console.print(Text(f"Runs of {letter}: {' '.join(ids)}", style="dim"))
    console.print()
    if found.others:
        console.print(Text(f"Also measured, for --metric: {', '.join(found.others)}", style="dim"))
    console.print(Text(found.verdict, style="bold"))


def _print_scores(
    scores: list[ComparedScore], trained: Extent | None, margin: float | None, console: Console
) -> None:
    from pebench.leaderboard.wording import difference_of, metric_heading, number, p_text, signed
    from pebench.notation.significant_figures import significant
    from pebench.store.scores import extent_name

    names = [f"{extent_name(s.extent)}{' (trained)' if s.extent == trained else ''}" for s in scores]
    rows = []
    for name, score in zip(names, scores, strict=True):
        test = score.test
        unshown = "same runs" if test.identical else "neither" if test.pairs else ""
        rows.append(
            [
                name,
                *("" if math.isnan(mean) else number(mean) for mean in (test.first, test.second)),
                difference_of(test.difference, test.half_width, test.first),
                f"{score.won} of {test.pairs}" if test.pairs else "",
                p_text(test.p),
                p_text(test.p_holm),
                {1: "A", -1: "B", 0: unshown}[score.shown],
            ]
        )
    console.print(metric_heading(scores[0].metric, scores[0].record))
    _print_table(["extent", "A", "B", "A − B", "A won", "p", "Holm's p", "better"], rows, console)
    tested = [(n, s, found) for n, s in zip(names, scores, strict=True) if (found := s.test.uncertainty)]
    if any(found.spread for _, _, found in tested):
        material = next((found.material for _, _, found in tested if found.with_text), "text")
        headings = ["extent", "%", "SDs", "shown from", material]
        headings += [] if margin is None else [f"equal ± {margin:g}", "seeds"]
        rows = [
            [
                name,
                *(_known(signed(effect, 1), effect) for effect in (score.percent, score.deviations)),
                _known(significant(found.detectable(), 2), found.detectable()),
                _known(f"{100 * found.text_share:.0f} %", found.text_share),
                *([] if margin is None else [p_text(score.p_equivalent), _seeds(found, margin)]),
            ]
            for name, score, found in tested
        ]
        _print_table(headings, rows, console)
        said = "A − B in percent of B and in standard deviations between seeds; the difference that would be "
        said += f"shown four times in five; the share of the {material} in the variance"
        said += "" if margin is None else f"; Holm's p of equality within {margin:g}, and seeds to show it"
        console.print(f"{said}.")
        console.print()


def _known(text: str, value: float) -> str:
    return "" if math.isnan(value) else text


def _seeds(found: Uncertainty, margin: float) -> str:
    count = found.seeds_needed(margin)
    return "" if not found.spread else "never" if count is None else str(count)


def _print_table(headings: list[str], rows: list[list[str]], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        left = heading in ("extent", "better")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()
