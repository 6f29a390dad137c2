"""Score against extent: one line an encoding, its interval, and every seed as a ring."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
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
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.leaderboard.wording import marks
from pebench.store.scores import extent_name, positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROOM = 0.4

_BEYOND = 3.0
"""Room below 0 % and above 100 %."""


_MARGIN = 3.0
"""Pixels between a caption and the edge of the figure, and between two extents."""

CLUSTER = 8
"""Lines that all lie within one part of this many of a panel are drawn once more, close up."""


def draw(board: Board) -> Figure:
    """A panel a table, and one beside it for the best lines where these lie on one another."""
    shown = [
        (table, view)
        for table in board.tables
        for view in (complete_rows(table)[:MOST_LINES], cluster(table))
        if view is not None
    ]
    figure, axes = panels(len(shown), 7.2, 4.6)
    look = looks(board.tables)
    ends = {each: _panel(each, table, rows, look) for each, (table, rows) in zip(axes, shown, strict=True)}
    name_at_the_right(figure, ends, names_of(board.tables))
    _turn_crowded_extents(figure, axes)
    _keep_captions_inside(figure, axes)
    return figure


def complete_rows(table: LeaderboardTable) -> list[Row]:
    """The rows of a table that have a mean, the best first."""
    return [row for row in table.rows if _points(table, row)]


def cluster(table: LeaderboardTable) -> list[Row] | None:
    """The best lines, if there are three or more of them that lie together within a `CLUSTER`th of the span
    of all; None if there are not."""
    rows = complete_rows(table)[:MOST_LINES]
    spans = [_span(table, rows[:count]) for count in range(1, len(rows) + 1)]
    together = sum(span * CLUSTER <= spans[-1] for span in spans)
    return rows[:together] if 3 <= together < len(rows) else None


def _span(table: LeaderboardTable, rows: list[Row]) -> float:
    means = [mean for row in rows for _, mean, _ in _points(table, row)]
    return max(means) - min(means)


def _turn_crowded_extents(figure: Figure, axes: list[Axes]) -> None:
    """Writes the extents of a panel aslant where they would run into one another."""
    figure.draw_without_rendering()
    for each in axes:
        places = [label.get_window_extent() for label in each.get_xticklabels()]
        if any(left.x1 + _MARGIN > right.x0 for left, right in pairwise(places)):
            each.tick_params(axis="x", rotation=30)


def _keep_captions_inside(figure: Figure, axes: list[Axes]) -> None:
    """Begins a caption at the left edge of its panel where, centred under a panel that long names have made
    narrow, it would leave the figure; further to the left where it would do so at the right."""
    figure.draw_without_rendering()
    for each in axes:
        label = each.xaxis.label
        if label.get_window_extent().x0 < 0:
            each.set_xlabel(each.get_xlabel(), loc="left", multialignment="left")
            beyond = label.get_window_extent().x1 - figure.bbox.x1
            label.set_x(min(0.0, -(beyond + _MARGIN) / each.bbox.width))


def _panel(axes: Axes, table: LeaderboardTable, rows: list[Row], look: dict[str, Look]) -> list[End]:
    complete = complete_rows(table)
    close_up = len(rows) < len(complete[:MOST_LINES])
    entitle(axes, f"{table.title}, the best {len(rows)} close up" if close_up else table.title)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = sorted(rows, key=lambda row: row.label)
    if not drawn:
        nothing_to_show(axes)
        return []
    for row in drawn:
        _line(axes, table, row, look[row.label])
    axes.set_ylabel(score_label(table))
    axes.set_xscale("log", base=2)
    axes.set_xticks([positions(e) for e in table.extents], [extent_name(e) for e in table.extents])
    axes.set_xticks([], minor=True)
    points = [point for row in drawn for point in _points(table, row)]
    values = [mean for _, mean, _ in points] + [
        value for row in drawn for entry in row.entries.values() for value in entry.seeds.values()
    ]
    percent = table.record.unit == "%"
    if not percent and min(values) > 0 and max(values) / min(values) > WIDE_RANGE:
        log_scores(axes)
    _look_at(axes, values)
    if percent:
        _stay_possible(axes)
    bottom, top = axes.get_ylim()
    cut = any(mean - width < bottom or mean + width > top for _, mean, width in points)
    axes.grid(axis="y", alpha=0.25)
    axes.set_xlabel(_extent_label(table, complete, cut, close_up))
    for extent in sorted(table.trained):
        axes.axvline(positions(extent), color="0.5", linestyle=":", linewidth=1, zorder=0)
        axes.annotate(
            " trained",
            (positions(extent), 1.0),
            xycoords=("data", "axes fraction"),
            color="0.5",
            va="top",
            fontsize=8,
        )
    last = {row.label: _points(table, row)[-1] for row in drawn}
    return [End(x, y, label, look[label]) for label, (x, y, _) in last.items()]


def _look_at(axes: Axes, values: list[float]) -> None:
    """Keeps the intervals of few seeds, which may be many times as wide as all differences, from squeezing
    means and seeds into one line."""
    transform = axes.transData
    bottom, top = (transform.transform((1.0, value))[1] for value in (min(values), max(values)))
    room = max(top - bottom, 0.25 * axes.bbox.height) * _ROOM
    inverse = transform.inverted()
    lowest, highest = (inverse.transform((0.0, height))[1] for height in (bottom - room, top + room))
    before = axes.get_ylim()
    if min(values) > 0.0:  # where no seed is below 0, an interval that is says nothing
        lowest = max(lowest, 0.0)
    axes.set_ylim(max(before[0], lowest), min(before[1], highest))


def _stay_possible(axes: Axes) -> None:
    """Keeps an axis of percents near what there can be, and from making much of a difference that is none."""
    bottom, top = axes.get_ylim()
    bottom, top = max(bottom, -_BEYOND), min(top, 100.0 + _BEYOND)
    missing = max(0.0, 2 * _BEYOND - (top - bottom)) / 2
    axes.set_ylim(bottom - missing, top + missing)
    number_percents(axes)


def _extent_label(table: LeaderboardTable, complete: list[Row], cut: bool, close_up: bool) -> str:
    incomplete = sorted({row.label for row in table.rows} - {row.label for row in complete})
    sentences = [f"extent ({table.extent_unit}); {marks(table)}"]
    if len(complete) > MOST_LINES and not close_up:  # whose title says how many it has
        sentences.append(f"the best {MOST_LINES} of {len(complete)}")
    if cut:
        sentences.append("some intervals leave the picture; the table has them")
    if incomplete:
        names = ", ".join(incomplete) if len(incomplete) <= 5 else f"{len(incomplete)} lines"
        sentences.append(f"incomplete or diverged, not drawn: {names}")
    return "\n".join(part for sentence in sentences for part in textwrap.wrap(sentence, 75))


def _line(axes: Axes, table: LeaderboardTable, row: Row, look: Look) -> None:
    extents, means, widths = zip(*_points(table, row), strict=True)
    axes.errorbar(
        extents,
        means,
        yerr=widths,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        markersize=4.5,
        linewidth=1.6,
        capsize=3,
        elinewidth=1,
    )
    dots = [(positions(e), value) for e in table.extents for value in row.at(e).seeds.values()]
    # Hollow and on top: where seeds lie apart in two heaps, the mean between them is no run's.
    axes.plot(
        *zip(*dots, strict=True),
        linestyle="",
        marker="o",
        markersize=5,
        markerfacecolor="none",
        color=look.colour,
        alpha=0.8,
        zorder=3,
    )


def _points(table: LeaderboardTable, row: Row) -> list[tuple[int, float, float]]:
    """Extent, mean and half width (0 where one seed has none) of the entries that are known."""
    entries = [(extent, row.at(extent)) for extent in table.extents]
    return [(positions(extent), e.mean, finite_width(e.half_width)) for extent, e in entries if e.known]
