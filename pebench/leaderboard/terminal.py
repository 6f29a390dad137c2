"""The tables of a sweep in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.statistics import summarise
from pebench.leaderboard.sweeps import find_sweeps
from pebench.leaderboard.wide import Extent, Line, Wide, widen
from pebench.leaderboard.wording import cell_text, extent_headings, heading, notes
from pebench.store import runs_folder

if TYPE_CHECKING:
    import pandas
    from rich.console import Console
    from rich.text import Text


def print_leaderboard(sweep: str, runs: Path | None = None, console: Console | None = None) -> None:
    """Prints the tables of a sweep.

    Args:
        sweep: its name or its file.
        runs: the folder of runs, by default `pebench.store.runs_folder()`.
        console: where to.

    Raises:
        UserError: there is no such sweep, or a run cannot be read.
    """
    folder = runs if runs is not None else runs_folder()
    (record,) = find_sweeps(folder, [sweep])
    collection = collect(folder, record)
    print_tables(collection, summarise(collection), console)


def print_tables(collection: Collection, summary: pandas.DataFrame, console: Console | None = None) -> None:
    """Prints the tables of a sweep that has been read; see `print_leaderboard`.

    Args:
        collection: the sweep.
        summary: see `pebench.leaderboard.statistics.summarise`.
        console: where to.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    for table in widen(collection, summary):
        console.print(Text(f"{collection.sweep} · {table.title}", style="bold"))
        console.print(Text(heading(table)))
        _print_table(table, console)
        for note in notes(collection, table):
            console.print(Text(f"- {note.replace('`', '')}"))


def _print_table(table: Wide, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("encoding", overflow="fold")
    for title in extent_headings(table):
        shown.add_column(title, justify="right", no_wrap=True)
    for line in table.lines:
        shown.add_row(Text(line.label), *(_cell(table, line, extent) for extent in table.extents))
    console.print(shown)


def _cell(table: Wide, line: Line, extent: Extent) -> Text:
    from rich.text import Text

    cell = line.cells.get(extent)
    if table.is_best(extent, cell):
        return Text(cell_text(cell), style="bold green")
    return Text(cell_text(cell), style="red" if cell is not None and cell.diverged else "")
