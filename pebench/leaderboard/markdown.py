"""`leaderboard.md`: the tables of a sweep to read, with what they lack and what the encodings cost."""

from __future__ import annotations

from collections.abc import Sequence

from pebench.leaderboard.answers import Answer
from pebench.leaderboard.board import Board
from pebench.leaderboard.sections import (
    CLAIMS,
    NO_PUBLISHED,
    Table,
    claims_table,
    comparison_explained,
    comparison_table,
    further_sections,
    is_compared,
    overall_explained,
    overall_table,
    scores_table,
)
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import explained, heading, notes
from pebench.store.scores import extent_name

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
        parts += ["## Over all tasks", overall_explained(board), _table(overall_table(board))]
    for table in board.tables:
        parts += [f"## {table.title}", f"{heading(table)}{explained(table)}", _table(scores_table(table))]
        parts.append("\n".join(f"- {note}" for note in notes(collection, table)))
        parts += _compared(board, table)
        for section in further_sections(board, table):
            parts += [f"### {section.title}", section.explained, _table(section.table)]
    if board.answers:
        parts += ["## Claims", CLAIMS, _table(claims_table(board.answers))]
    if board.published is not None and not board.published:
        parts.append(NO_PUBLISHED)
    return "\n\n".join(part for part in [*parts, _TRACE] if part) + "\n"


def claims_markdown(sweep: str, answers: Sequence[Answer]) -> str:
    """The text of `claims.md`, the answers alone."""
    return "\n\n".join([f"# Claims about {sweep}", CLAIMS, _table(claims_table(answers))]) + "\n"


def _compared(board: Board, table: LeaderboardTable) -> list[str]:
    if table.largest is None or not is_compared(board, table):
        return []
    title = f"### Against {board.baseline} at {extent_name(table.largest)}"
    return [title, comparison_explained(table), _table(comparison_table(table))]


def _table(table: Table) -> str:
    """A Markdown table, numbers to the right, padded so that it can be read as text."""
    rows = [[f"**{value.text}**" if value.best else value.text for value in row] for row in table.rows]
    texts = [table.headings, *rows]
    lines = [[text.replace("|", "\\|").replace("\n", " ") for text in line] for line in texts]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def row(values: list[str]) -> str:
        others = [cell.rjust(width) for cell, width in zip(values[1:], widths[1:], strict=True)]
        return f"| {' | '.join([values[0].ljust(widths[0]), *others])} |"

    return "\n".join(row(values) for values in [lines[0], rule, *lines[1:]])
