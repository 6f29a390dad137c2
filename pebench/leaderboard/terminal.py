"""The tables of a sweep in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pebench.leaderboard.answers import Answer, difference_text
from pebench.leaderboard.board import Board
from pebench.leaderboard.sections import (
    NO_PUBLISHED,
    Section,
    Table,
    further_sections,
    means_over_tasks,
    scores_table,
)
from pebench.leaderboard.wording import heading, interval_over, notes, p_text, shares
from pebench.machine.console import plain_console

if TYPE_CHECKING:
    import rich.table
    from rich.console import Console


def print_board(board: Board, console: Console | None = None) -> None:
    """Prints the tables of a sweep that has been read.

    Args:
        board: the sweep.
        console: where to.
    """
    from rich.text import Text

    console = console or plain_console()
    name = board.collection.sweep.name
    for table in board.tables:
        console.print(Text(f"{name} · {table.title}", style="bold"))
        console.print(Text(heading(table)))
        scores = scores_table(table)
        _print_table(scores, console)
        if any(" ± " in value.text for row in scores.rows for value in row):
            over = interval_over(table)
            share = f"; {shares(table)}" if shares(table) else ""
            console.print(Text(f"- mean ± half the width of the 95 % interval over {over}{share}"))
        for note in notes(board.collection, table):
            console.print(Text(f"- {note.replace('`', '')}"))
        for order, curves in ((c.order, c) for c in board.curves if c.table is table):
            if order is not None:
                console.print(Text(f"- {order.sentence(curves.extent)}"))
        for section in further_sections(board, table):
            _print_published(section, console)
    if board.answers:
        console.print(Text(f"{name} · claims", style="bold"))
        print_answers(board.answers, console)
    if board.published is not None and not board.published:
        console.print(Text(NO_PUBLISHED))
    if board.overall:
        console.print(Text(f"{name} · over all tasks", style="bold"))
        # Each task's own rank and score stand in overall.csv: a terminal is not so wide.
        whole = means_over_tasks(board)
        _print_table(whole, console)
        ranked = "mean rank" in whole.headings
        if any(math.isnan(row.rank if ranked else row.relative) for row in board.overall):
            console.print(Text("- what is missing in one task has no mean over all"))
        if any(math.isnan(row.relative) and not math.isnan(row.rank) for row in board.overall):
            console.print(Text("- no relative score where the best of an extent is 0 or a score below 0"))


_STYLES = {"shown": "bold green", "refuted": "red", "not shown": ""}


def print_answers(answers: Sequence[Answer], console: Console) -> None:
    """Prints a line a claim and its answer below it: sentences are too long for a table."""
    from rich.text import Text

    for one in answers:
        p = f", p = {p_text(one.p_holm)}".replace("= <", "<") if not math.isnan(one.p_holm) else ""
        seen = f"{difference_text(one.decisive)} (over {one.basis}{p})"
        needed = f"; to show it: {one.needed}" if one.needed else ""
        line = Text(f"{one.outcome}: ", style=_STYLES[one.outcome])
        console.print(line.append(Text(f"{one.claim.claim}: {seen}{needed}", style="not bold default")))


def _print_table(table: Table, console: Console) -> None:
    # In a narrow terminal a value takes two lines: no number is ever cut.
    unbounded = console.options.update(max_width=10_000)
    shown = _table(table, narrow=False)
    fits = console.measure(shown, options=unbounded).maximum <= console.width
    console.print(shown if fits else _table(table, narrow=True))


def _table(table: Table, narrow: bool) -> rich.table.Table:
    import rich.table
    from rich.box import SIMPLE_HEAD
    from rich.text import Text

    def broken(text: str) -> str:
        return text.replace(" ± ", "\n± ").replace(" (", "\n(") if narrow else text

    shown = rich.table.Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1))
    name, *others = table.headings
    shown.add_column(name, overflow="fold")
    for title in others:
        shown.add_column(broken(title), justify="right", no_wrap=True)
    for label, *values in table.rows:
        styles = ["bold green" if value.best else "red" if value.diverged else "" for value in values]
        texts = [Text(broken(value.text), style=style) for value, style in zip(values, styles, strict=True)]
        shown.add_row(Text(label.text), *texts)
    return shown


def _print_published(section: Section, console: Console) -> None:
    """A line a figure: its source and model are too long for a table."""
    from rich.text import Text

    if section.table.file != "published.csv":
        return
    for row in section.table.rows:
        label, metric, extent, ours, _, theirs, difference, model, source, note = (v.text for v in row)
        where = "; ".join(known for known in (model, source) if known)
        console.print(
            Text(
                f"- published: {label}, {metric} at {extent}: {theirs} ({where}), ours {ours}, "
                f"difference {difference}{f' [{note}]' if note else ''}"
            )
        )
