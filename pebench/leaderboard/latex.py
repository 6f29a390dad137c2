"""`leaderboard.tex`: the tables of a sweep for a paper, in the manner of the LaTeX package booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from pebench.leaderboard.board import Board
from pebench.leaderboard.sections import Value, scores_table
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import heading, interval_over
from pebench.sweeping.names import hyphened

_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {"±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "<": r"$<$", ">": r"$>$"}
)


def latex(board: Board) -> str:
    r"""One `table` a task, to be read into a paper with ``\input``; it needs ``\usepackage{booktabs}``."""
    name = board.collection.sweep.name
    parts = [
        f"% {name}, written by pebench. In the preamble: \\usepackage{{booktabs}}",
        *(_table(name, table) for table in board.tables),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return text.translate(_SPECIAL)


def _table(sweep: str, table: LeaderboardTable) -> str:
    scores = scores_table(table)
    caption = f"{escaped(table.title)}: {escaped(heading(table))}."
    if table.metric:
        caption += (
            rf" Mean $\pm$ half the width of the 95\,\% $t$ interval over {interval_over(table)};"
            " the best of a column in bold."
        )
    label = hyphened(f"{sweep}-{table.title}")
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{l{'r' * len(table.extents)}}}",
            r"    \toprule",
            f"    {_row(map(escaped, scores.headings))}",
            r"    \midrule",
            *(f"    {_row(map(_value, row))}" for row in scores.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _value(value: Value) -> str:
    text = escaped(value.text)
    return rf"\textbf{{{text}}}" if value.best else text


def _row(values: Iterable[str]) -> str:
    return " & ".join(values) + r" \\"
