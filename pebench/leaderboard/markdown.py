"""`leaderboard.md`: the tables of a sweep to read, with what they lack and what the encodings cost."""

from __future__ import annotations

import math

from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import CostRow, cost_rows
from pebench.leaderboard.overall import OverallRow
from pebench.leaderboard.published import Match
from pebench.leaderboard.wide import Wide
from pebench.leaderboard.wording import (
    cell_text,
    cost_headings,
    cost_texts,
    decimal,
    difference_heading,
    difference_text,
    explained,
    extent_headings,
    grouped,
    heading,
    notes,
    number,
    p_text,
)
from pebench.scores import extent_name

_TRACE = (
    "Every number can be followed to its runs: `leaderboard.csv` names those behind each mean, `scores.csv` "
    "those behind each score, `costs.csv` holds every throughput and memory, and `runs.csv` the "
    "specification, commit, machine and data of each run. `report.html` shows all of it in one page."
)


def markdown(board: Board) -> str:
    """The text of the file."""
    collection = board.collection
    parts = [f"# {collection.sweep.name}", *(f"> **Warning:** {text}" for text in collection.warnings)]
    if board.overall:
        parts += ["## Over all tasks", OVERALL, _overall(board.tables, board.overall)]
    for table in board.tables:
        parts += [f"## {table.title}", f"{heading(table)}{explained(table)}", _scores(table)]
        parts.append("\n".join(f"- {note}" for note in notes(collection, table)))
        parts.append(_compared(board, table))
        rows = cost_rows(board.costs, table)
        if rows:
            parts += ["### Cost", _costs(table, rows)]
        published = [match for match in board.published or () if match.table == table.key]
        if published:
            parts += ["### Published figures", PUBLISHED, _published(published)]
    if board.published is not None and not board.published:
        parts.append(NO_PUBLISHED)
    return "\n\n".join(part for part in [*parts, _TRACE] if part) + "\n"


OVERALL = (
    "Rank and relative score are means over the extents of a task. A score relative to the best at its "
    "extent is 1 for the best; encodings share a rank where their intervals overlap. What is missing "
    "in one task has no mean over all."
)
PUBLISHED = (
    "Figures of others for the same task, data, metric and extents. Models and budgets differ, so a "
    "difference says how far apart two experiments are, and not which is right."
)
NO_PUBLISHED = "No published figure has the task, data, metric and extents of this sweep."


def _scores(table: Wide) -> str:
    rows = []
    for line in table.lines:
        cells = [(extent, line.cells.get(extent)) for extent in table.extents]
        texts = [f"**{cell_text(c)}**" if table.is_best(e, c) else cell_text(c) for e, c in cells]
        rows.append([line.label, *texts])
    return _table(["encoding", *extent_headings(table)], rows)


def _compared(board: Board, table: Wide) -> str:
    """The differences to the baseline at the largest extent."""
    if board.baseline is None or not table.extents:
        return ""
    largest = table.extents[-1]
    rows = [
        [line.label, str(cell.rank or ""), difference_text(cell), p_text(cell.p_holm)]
        for line in table.lines
        if (cell := line.cells.get(largest)) is not None
    ]
    if not any(row[2] for row in rows):
        return ""
    title = f"### Against {board.baseline} at {extent_name(largest)}"
    return "\n\n".join([title, COMPARED, _table(["encoding", "rank", difference_heading(table), "p"], rows)])


COMPARED = (
    "Rank, where those whose intervals overlap with the best share the first; mean difference of the pairs "
    "of equal seeds ± half the width of its 95 % t interval; p of the paired t test after Holm's correction "
    "over the encodings compared."
)


def _overall(tables: list[Wide], rows: list[OverallRow]) -> str:
    headings = ["encoding", "mean rank", "relative score"]
    for table in tables:
        headings += [f"{table.title}: rank", "relative"]
    lines = []
    for row in rows:
        texts = [row.label, decimal(row.rank, 2), decimal(row.relative, 3)]
        for table in tables:
            standing = row.standings.get(table.title)
            texts += [
                decimal(standing.rank if standing else math.nan, 2),
                decimal(standing.relative if standing else math.nan, 3),
            ]
        lines.append(texts)
    return _table(headings, lines)


def _costs(table: Wide, rows: list[CostRow]) -> str:
    return _table(["encoding", *cost_headings(table, rows)], [[row.label, *cost_texts(row)] for row in rows])


def _published(found: list[Match]) -> str:
    headings = ["encoding", "metric", "extent", "ours", "parameters", "published", "difference"]
    rows = [
        [
            match.label,
            match.metric,
            extent_name(match.extent),
            number(match.mean),
            grouped(match.parameters),
            number(match.figure.value, like=match.mean),
            f"{match.difference:+.{2 if abs(match.difference) >= 1 else 3}f}",
            match.figure.model,
            match.figure.source,
            "; ".join(match.remarks),
        ]
        for match in found
    ]
    return _table([*headings, "their model", "source", "note"], rows)


def _table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right, padded so that it can be read as text."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in [headings, *rows]]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def row(cells: list[str]) -> str:
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *others])} |"

    return "\n".join(row(cells) for cells in [lines[0], rule, *lines[1:]])
