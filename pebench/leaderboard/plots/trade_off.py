"""Cost against quality: how fast an encoding trains, and how well it does at the largest extent."""

from __future__ import annotations

import math
from textwrap import fill
from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import cost_rows, not_alone
from pebench.leaderboard.plots.style import (
    MOST_LINES,
    WIDE_RANGE,
    End,
    Look,
    entitle,
    finite_width,
    log_scores,
    looks,
    name_at_the_right,
    names_of,
    nothing_to_show,
    number_percents,
    panels,
    score_label,
)
from pebench.leaderboard.tables import LeaderboardTable
from pebench.store.scores import extent_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTERS = 60
"""Of a line below the axis."""


def draw(board: Board) -> Figure | None:
    """A panel a table; None where nothing is trained."""
    if not any(run.spec.train.steps for run in board.collection.runs):
        return None
    figure, axes = panels(len(board.tables), 7.2, 4.2)
    look = looks(board.tables)
    ends = {each: _panel(each, board, table, look) for each, table in zip(axes, board.tables, strict=True)}
    name_at_the_right(figure, ends, names_of(board.tables))
    return figure


def _panel(axes: Axes, board: Board, table: LeaderboardTable, look: dict[str, Look]) -> list[End]:
    entitle(axes, table.title)
    axes.spines[["top", "right"]].set_visible(False)
    costs = {row.key: row for row in cost_rows(board.costs, table)}
    known = [
        (row, entry, cost)
        for row in table.rows
        if (entry := row.at(table.largest)).known
        and (cost := costs.get(row.group.key)) is not None
        and not math.isnan(cost.training)
    ]
    ends: list[End] = []
    for row, entry, cost in known[:MOST_LINES]:
        colour, _, marker = look[row.label]
        axes.errorbar(
            [cost.training],
            [entry.mean],
            yerr=[finite_width(entry.half_width)],
            color=colour,
            marker=marker,
            capsize=3,
            elinewidth=1,
        )
        ends.append(End(cost.training, entry.mean, row.label, look[row.label], line=False))
    if not ends:
        nothing_to_show(axes)
        return []
    means = [end.y for end in ends]
    if min(means) > 0 and max(means) / min(means) > WIDE_RANGE:
        log_scores(axes)
    else:
        room = (max(max(means) - min(means), 1e-3 * abs(max(means))) or 1.0) * 0.4
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, min(means) - room), min(top, max(means) + room))
        axes.ticklabel_format(axis="y", useOffset=False)
        if table.record.unit == "%":
            number_percents(axes)
    rates = [end.x for end in ends]
    axes.set_xlim(0.0, max(rates) * 1.06)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=5)  # numbers of seven digits stand beside each other
    axes.grid(alpha=0.25)
    item = next(iter(costs.values())).item
    axes.set_ylabel(score_label(table, f" at {extent_name(table.largest or ())}"))
    said = [f"{item} a second in training, further right is faster"]
    if len(known) > MOST_LINES:
        said.append(f"the best {MOST_LINES} of {len(known)}")
    said += fill(not_alone(board.collection, table), _LETTERS).splitlines()
    axes.set_xlabel("\n".join(said))
    return ends
