"""`pebench status`: where every cell stands."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pebench.command_line.completion import sweeps as sweeps_of_user
from pebench.command_line.parameter_types import runs_option


@click.command("status")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...", shell_complete=sweeps_of_user)
@click.option("--summary", "brief", is_flag=True, help="Counts alone, and why cells failed.")
@click.option("--watch", is_flag=True, help="Look again and again, until nothing is under way.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with one object a cell.")
@runs_option
def command(sweeps: tuple[str, ...], brief: bool, watch: bool, as_json: bool, runs: Path) -> int:
    """Tell where every cell of each SWEEP stands; without one, how far all sweeps are, one a line.

    SWEEP is the name of a sweep that was submitted, or its file. A cell is waiting (for settings to be
    chosen), queued, running, requeued (stopped at a checkpoint, waiting for its turn again), done, failed,
    diverged, lost (its worker or job is gone, or never came to it), cancelled or missing (never begun). A
    failure comes with the name of its log. A cell that waits in SLURM comes with SLURM's reason, one that
    runs with its node.

    The exit status is 1 where a cell cannot be read; with --watch also where one failed or was lost.

    \b
    Examples:
      pebench status
      pebench status quickstart
      pebench status quickstart --summary
      pebench status quickstart --watch
      pebench status quickstart --json
    """
    if as_json and (brief or watch):
        raise click.UsageError("--json prints every cell, once: leave --summary and --watch out.")
    from pebench.store.tuned_choices import submitted_sweeps
    from pebench.submission.status import distinguished, statuses
    from pebench.sweeping.recorded import recorded_sweeps

    records = recorded_sweeps(runs, sweeps) if sweeps else submitted_sweeps(runs)
    folders = [] if sweeps else [path.parent.name for path in sorted(runs.glob("*/spec.json"))]
    wanted = list(dict.fromkeys([*(run for record in records for run in record.runs), *folders]))
    if watch:
        return _watch(runs, wanted, brief, sweeps)
    cells = distinguished(runs, statuses(runs, wanted))
    if as_json:
        click.echo(json.dumps([cell.model_dump(mode="json") for cell in cells], indent=1))
    elif sweeps:
        _print(cells, brief)
    else:
        _overview(runs, records, cells, brief)
    return 1 if any(cell.state == "unreadable" for cell in cells) else 0


def _overview(runs: Path, records: Sequence[Any], cells: Sequence[Any], brief: bool) -> None:
    """A line a sweep, and one for the runs of none.

    Args:
        runs: the folder of the runs.
        records: of the sweeps, as they were before the cells were looked at.
        cells: of all sweeps and of none.
        brief: whether to tell why cells failed.
    """
    from pebench.store.tuned_choices import with_choices
    from pebench.submission.status import summary

    by_id = {cell.run: cell for cell in cells}
    sweeps: dict[str, list[Any]] = {}
    for record in records:
        # A choice that was made between the two looks has put a run in the place of a slot.
        found = (by_id.get(cell) or by_id[with_choices(runs, [cell])[0]] for cell in record.runs)
        sweeps[record.name] = list({cell.run: cell for cell in found}.values())
    of_sweeps = {cell.run for group in sweeps.values() for cell in group}
    if alone := [cell for cell in cells if cell.run not in of_sweeps]:
        sweeps["(no sweep)"] = alone
    width = max(map(len, sweeps), default=0)
    for name, group in sweeps.items():
        click.echo(f"{name:{width}}  {summary(group)}")
        for line in _reasons(group if brief else [cell for cell in group if cell.state == "unreadable"]):
            click.echo(f"{'':{width}}  {line}")
    if not sweeps:
        click.echo(summary(cells))


_STYLES = {
    "done": "green",
    "running": "cyan",
    "requeued": "blue",
    "queued": "blue",
    "waiting": "blue",
    "failed": "red",
    "diverged": "magenta",
    "lost": "red",
    "cancelled": "yellow",
    "missing": "dim",
    "unreadable": "red",
}


_LOOK_EVERY = 5.0
_FIRST = (
    *("running", "requeued", "failed", "lost", "unreadable", "diverged", "cancelled"),
    *("queued", "waiting", "missing", "done"),
)
"""The order of a cut table: the states that matter most come first."""


def _print(cells: list[Any], brief: bool) -> None:
    from rich.console import Console

    from pebench.submission.status import summary

    console = Console()
    if brief:
        for line in _reasons(cells):
            click.echo(line)
    elif console.is_terminal:
        console.print(_table(cells))
    else:
        for cell in cells:
            click.echo("\t".join(_row(cell)).rstrip())
    click.echo(summary(cells))


def _reasons(cells: list[Any]) -> list[str]:
    """A line for each reason why cells did not end well, with the first of them."""
    found: dict[tuple[str, str], list[Any]] = {}
    for cell in cells:
        if cell.state in ("failed", "lost", "unreadable"):
            # Numbers are what the same misfortune differs in from cell to cell.
            reason = re.sub(r"\d+", "…", " ".join(cell.detail.split()))
            found.setdefault((cell.state, reason), []).append(cell)
    return [
        f"{len(group)} {state}: {' '.join(group[0].detail.split()).rstrip('.')} "
        f"({group[0].run}{f', see {group[0].log}' if group[0].log else ''})"
        for (state, _), group in found.items()
    ]


def _watch(runs: Path, wanted: list[str], brief: bool, sweeps: Sequence[str]) -> int:
    """Shows the cells until none is under way, or until Ctrl-C, and names what comes next once all finished.

    Returns:
        The exit status.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from pebench.submission.status import BUSY, FINISHED, distinguished, statuses, summary

    console = Console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext()
    told = ""
    cells: Sequence[Any] = []
    with contextlib.suppress(KeyboardInterrupt), live:
        while True:
            cells = distinguished(runs, statuses(runs, wanted))
            if isinstance(live, Live):
                shown = [] if brief else [_cut(cells, console.width, console.height)]
                live.update(Group(*shown, Text(summary(cells), style="bold")), refresh=True)
            elif summary(cells) != told:
                told = summary(cells)
                click.echo(told)
            if not any(cell.state in BUSY for cell in cells):
                break
            time.sleep(_LOOK_EVERY)
    if sweeps and cells and all(cell.state in FINISHED for cell in cells):
        click.echo(f"pebench leaderboard {' '.join(sweeps)} writes what they found.")
    return 1 if any(cell.state in ("failed", "lost", "unreadable") for cell in cells) else 0


def _cut(cells: list[Any], width: int, height: int) -> Any:
    """As much of the table as a terminal of this size holds, what matters most first."""
    from rich.console import Group
    from rich.text import Text

    # Besides there are the heading, what is left out, the summary and the cursor.
    room = max(3, height - 4)
    shown = sorted(cells, key=lambda cell: _FIRST.index(cell.state))[:room]
    left = len(cells) - len(shown)
    return Group(_table(shown, width), *([Text(f"and {left} more", style="dim")] if left else []))


def _table(cells: list[Any], width: int | None = None) -> Any:
    """A row a cell. The task has a column where there are several.

    Args:
        cells: to show.
        width: of the terminal, where every row is to be one line, cut where it must be.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    hidden = {"task"} if len({cell.task for cell in cells}) == 1 else set()
    rows = [dict(zip(_HEADINGS, _row(cell), strict=True)) for cell in cells]
    shown = [heading for heading in _HEADINGS if heading not in hidden]
    widths = {heading: max([len(heading), *(len(row[heading]) for row in rows)]) for heading in shown}
    if width is not None:
        # A run's name and its state are what one looks for; the rest gives way.
        for heading in ("encoding", "task"):
            widths[heading] = min(widths.get(heading, 0), _LABEL)
        widths[""] = max(1, width - sum(widths[heading] + 2 for heading in shown[:-1]))
    for heading in shown:
        whole = heading in ("run", "seed", "state", "progress")
        limit = widths[heading] if width is not None else None
        overflow: Any = "fold" if width is None else "ellipsis"
        table.add_column(heading, overflow=overflow, no_wrap=whole or width is not None, max_width=limit)
    for cell, row in zip(cells, rows, strict=True):
        styles = {"state": _STYLES[cell.state]}
        table.add_row(*(Text(row[heading], styles.get(heading, "")) for heading in shown))
    return table


_LABEL = 24
"""Letters of a label, where rows are one line."""

_HEADINGS = ("run", "encoding", "task", "seed", "state", "progress", "")


def _row(cell: Any) -> tuple[str, ...]:
    from pebench.specification.flat_spec import with_settings
    from pebench.submission.progress import duration

    progress = "" if cell.step is None else f"{cell.step}/{cell.steps}"
    if cell.state == "running" and cell.rate:
        progress += f" {cell.rate:.3g}/s, {duration(cell.seconds_left)} left"
    waits = f"waits: {cell.reason}" if cell.reason else ""
    on = f"on {cell.node}" if cell.node else ""
    detail = "; ".join(filter(None, [waits, on, cell.detail]))
    if cell.state in ("failed", "lost") and cell.log:
        detail = f"{detail.rstrip('.')}; see {cell.log}"
    seed = "" if cell.seed is None else str(cell.seed)
    return (
        cell.run,
        with_settings(cell.encoding or "", cell.settings),
        cell.task or "",
        seed,
        cell.state,
        progress,
        " ".join(detail.split()),
    )
