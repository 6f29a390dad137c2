"""One sentence or two that say what came out of a table."""

from __future__ import annotations

import math

from pebench.leaderboard.board import Board
from pebench.leaderboard.sections import is_compared
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.leaderboard.uncertainty import LEVEL
from pebench.leaderboard.wording import difference_text, entry_text, p_text
from pebench.store.scores import extent_name

_MOST_NAMES = 6


def headline(board: Board, table: LeaderboardTable) -> str:
    """Who is best at the largest extent, who shares its rank, and how many differ from the baseline there."""
    extent = table.largest
    known = [row for row in table.rows if row.at(extent).known]
    if extent is None or not known:
        return "Nothing has finished at every seed yet."
    record = table.record
    best = known[0].at(extent)
    firsts = [row for row in known if row.at(extent).mean == best.mean]
    unit = f" {record.unit}" if record.unit else ""
    parts = [
        f"At {extent_name(extent)} {_names(firsts)} {'has' if len(firsts) == 1 else 'have'} the "
        f"{'highest' if record.higher_is_better else 'lowest'} {table.metric} of {len(known)}, "
        f"{entry_text(best)}{unit}{_against(board, firsts)}."
    ]
    alike = [row for row in known if row not in firsts and best.rank and row.at(extent).rank == best.rank]
    if alike:
        verb = "shares" if len(alike) == 1 else "share"
        parts.append(f"{_names(alike)} {verb} its rank, since no difference to it is shown.")
    elif best.rank is None and len(known) > 1:
        parts.append("One seed gives neither an interval nor a rank.")
    if is_compared(board, table):
        parts.append(_compared(board, table, known))
    return " ".join(parts)


def _names(rows: list[Row]) -> str:
    labels = [row.label for row in rows]
    if len(labels) > _MOST_NAMES:
        return f"{', '.join(labels[: _MOST_NAMES - 1])} and {len(labels) - _MOST_NAMES + 1} more"
    return " and ".join([", ".join(labels[:-1]), labels[-1]]) if len(labels) > 1 else labels[0]


def _against(board: Board, firsts: list[Row]) -> str:
    """The best's difference to the baseline, where it has one."""
    extent = max(firsts[0].entries, key=lambda extent: math.prod(extent))
    entry = firsts[0].at(extent)
    if len(firsts) > 1 or board.baseline is None or math.isnan(entry.difference):
        return ""
    p = p_text(entry.p_holm)
    shown = f", p {p}" if p.startswith("<") else f", p = {p}" if p else ""
    return f" ({difference_text(entry)} against {board.baseline}{shown})"


def _compared(board: Board, table: LeaderboardTable, known: list[Row]) -> str:
    entries = [row.at(table.largest) for row in known]
    tested = [entry for entry in entries if not math.isnan(entry.p_holm)]
    sign = 1 if table.record.higher_is_better else -1
    shown = [sign * entry.difference for entry in tested if entry.p_holm < LEVEL]
    better, worse = sum(each > 0 for each in shown), sum(each < 0 for each in shown)
    if not shown:
        return f"No difference to {board.baseline} is shown there."
    are = "is" if better == 1 else "are"
    return (
        f"Of {len(tested)} compared with {board.baseline}, {better} {are} shown to be better and "
        f"{worse} to be worse."
    )
