"""The tables of a sweep in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pebench.console import plain_console
from pebench.leaderboard.board import Board, make_board
from pebench.leaderboard.markdown import NO_PUBLISHED
from pebench.leaderboard.published import Match
from pebench.leaderboard.sources import from_runs
from pebench.leaderboard.wide import Line, Wide
from pebench.leaderboard.wording import cell_text, decimal, extent_headings, heading, notes, number
from pebench.scores import Extent, extent_name
from pebench.store import runs_folder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
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
    (collection,) = from_runs(runs if runs is not None else runs_folder(), [sweep])
    print_board(make_board(collection), console)


def print_board(board: Board, console: Console | None = None) -> None:
    """Prints the tables of a sweep that has been read; see `print_leaderboard`.

    Args:
        board: the sweep. console: where to.
    """
    from rich.text import Text

    console = console or plain_console()
    for table in board.tables:
        console.print(Text(f"{board.collection.sweep.name} · {table.title}", style="bold"))
        console.print(Text(heading(table)))
        _print_table(table, console)
        for note in notes(board.collection, table):
            console.print(Text(f"- {note.replace('`', '')}"))
        _print_published([match for match in board.published or () if match.table == table.key], console)
    if board.published is not None and not board.published:
        console.print(Text(NO_PUBLISHED))
    if board.overall:
        _print_overall(board, console)


def _print_table(table: Wide, console: Console) -> None:
    shown = _table(table, False)
    # In a narrow terminal a cell takes two lines: no number is ever cut.
    unbounded = console.options.update(max_width=10_000)
    fits = console.measure(shown, options=unbounded).maximum <= console.width
    console.print(shown if fits else _table(table, True))


def _table(table: Wide, narrow: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    def broken(text: str) -> str:
        return text.replace(" ± ", "\n± ").replace(" (", "\n(") if narrow else text

    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1))
    shown.add_column("encoding", overflow="fold")
    for title in extent_headings(table):
        shown.add_column(broken(title), justify="right", no_wrap=True)
    for line in table.lines:
        cells = (_cell(table, line, extent) for extent in table.extents)
        shown.add_row(Text(line.label), *(Text(broken(cell.plain), style=cell.style) for cell in cells))
    return shown


def _print_published(found: list[Match], console: Console) -> None:
    from rich.text import Text

    for match in found:
        remarks = f" [{'; '.join(match.remarks)}]" if match.remarks else ""
        console.print(
            Text(
                f"- published: {match.label}, {match.metric} at {extent_name(match.extent)}: "
                f"{match.figure.value:g} ({match.figure.model}; {match.figure.source}), ours "
                f"{number(match.mean)}, difference {match.difference:+.3g}{remarks}"
            )
        )


def _print_overall(board: Board, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{board.collection.sweep.name} · over all tasks", style="bold"))
    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("encoding", overflow="fold")
    for title in ("mean rank", "relative score"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in board.overall:
        shown.add_row(Text(row.label), decimal(row.rank, 2), decimal(row.relative, 3))
    console.print(shown)


def _cell(table: Wide, line: Line, extent: Extent) -> Text:
    from rich.text import Text

    cell = line.cells.get(extent)
    if table.is_best(extent, cell):
        return Text(cell_text(cell), style="bold green")
    return Text(cell_text(cell), style="red" if cell is not None and cell.diverged else "")
