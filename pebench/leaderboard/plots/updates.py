"""Score against updates: one line an encoding, and every seed as a thin one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
from pebench.leaderboard.learning_curves import LearningCurves
from pebench.leaderboard.plots.style import (
    MOST_LINES,
    End,
    Look,
    entitle,
    looks,
    name_at_the_right,
    names_of,
    nothing_to_show,
    panels,
    score_label,
)
from pebench.store.scores import extent_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(board: Board) -> Figure | None:
    """A panel a table and extent; None where nothing was evaluated during training."""
    if not board.curves:
        return None
    figure, axes = panels(len(board.curves), 7.2, 4.6)
    look = looks(board.tables)
    ends = {each: _panel(each, curves, look) for each, curves in zip(axes, board.curves, strict=True)}
    name_at_the_right(figure, ends, names_of(board.tables))
    return figure


def _panel(axes: Axes, curves: LearningCurves, look: dict[str, Look]) -> list[End]:
    table = curves.table
    entitle(axes, f"{table.title} at {extent_name(curves.extent)}")
    axes.spines[["top", "right"]].set_visible(False)
    known = [label for label, own in curves.means.items() if own]
    drawn = sorted(known[:MOST_LINES])
    if not drawn:
        nothing_to_show(axes)
        return []
    ends = []
    for label in drawn:
        colour, dash, marker = look[label]
        for seed in sorted({seed for own in curves.seeds[label].values() for seed in own}):
            points = [(at, own[seed]) for at, own in sorted(curves.seeds[label].items()) if seed in own]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.5)
        at, means = zip(*curves.means[label].items(), strict=True)
        axes.plot(at, means, color=colour, linestyle=dash, marker=marker, markersize=4.5, linewidth=1.6)
        ends.append(End(at[-1], means[-1], label, look[label]))
    axes.set_ylabel(score_label(table))
    best = f"; the best {MOST_LINES} of {len(known)}" if len(known) > MOST_LINES else ""
    axes.set_xlabel(f"updates; thin lines are single seeds{best}")
    axes.grid(axis="y", alpha=0.25)
    return ends
