"""`pebench status`: where every cell stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pebench.parameters import runs_option


@click.command("status")
@click.argument("sweep", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with one object a cell.")
@runs_option
def command(sweep: str | None, as_json: bool, runs: Path) -> None:
    """Tell where every cell of SWEEP stands, or every run there is.

    SWEEP is the name of a sweep that was submitted, or its file. A cell is queued, running, done, failed,
    diverged, lost (its worker or job is gone without a word) or missing (never begun). A failure comes with
    the name of its log.

    \b
    Examples:
      pebench status
      pebench status quickstart
      pebench status quickstart --json
    """
    from pebench.submission.status import statuses, summary

    cells = statuses(runs, _wanted(runs, sweep))
    if as_json:
        click.echo(json.dumps([cell.model_dump(mode="json") for cell in cells], indent=1))
        return
    _print(cells)
    click.echo(summary(cells))


def _wanted(runs: Path, sweep: str | None) -> list[str]:
    from pebench.errors import UserError, unknown
    from pebench.store import read_sweeps

    records = {record.name: record for record in read_sweeps(runs)}
    if sweep is None:
        folders = (path.parent.name for path in sorted(runs.glob("*/spec.json")))
        return list(dict.fromkeys([*(run for record in records.values() for run in record.runs), *folders]))
    if sweep in records:
        return list(records[sweep].runs)
    if Path(sweep).suffix not in (".yaml", ".yml"):
        raise unknown("sweep", sweep, records)
    from pebench.sweeping.sweep import read

    file, source = read(Path(sweep))
    if file.name not in records:
        raise UserError(
            f"sweep '{file.name}' has not been submitted into {runs}: 'pebench submit {sweep}' does it."
        )
    if records[file.name].source != source:
        click.echo(
            f"pebench: {sweep} has changed since it was submitted; this is what was submitted.", err=True
        )
    return list(records[file.name].runs)


_STYLES = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "failed": "red",
    "diverged": "magenta",
    "lost": "red",
    "missing": "dim",
}


def _print(cells: list[Any]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        for cell in cells:
            click.echo("\t".join(_row(cell)).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "encoding", "task", "seed", "state", "progress", ""):
        table.add_column(heading, overflow="fold")
    for cell in cells:
        run, encoding, task, seed, state, progress, detail = _row(cell)
        table.add_row(run, encoding, task, seed, Text(state, _STYLES[state]), progress, Text(detail))
    console.print(table)


def _row(cell: Any) -> tuple[str, ...]:
    from pebench.submission.progress import duration

    progress = "" if cell.step is None else f"{cell.step}/{cell.steps}"
    if cell.state == "running" and cell.rate:
        progress += f" {cell.rate:.3g}/s, {duration(cell.seconds_left)} left"
    detail = cell.detail
    if cell.state in ("failed", "lost") and cell.log:
        detail = f"{detail.rstrip('.')}; see {cell.log}"
    seed = "" if cell.seed is None else str(cell.seed)
    return (
        cell.run,
        cell.encoding or "",
        cell.task or "",
        seed,
        cell.state,
        progress,
        " ".join(detail.split()),
    )
