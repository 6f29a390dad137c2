"""Score against the tuned settings: one small panel an encoding, its trials and the chosen value; where
several settings were drawn at random, a panel for each of them."""

from __future__ import annotations

import math
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots.style import log_labels, panels
from pebench.leaderboard.sections import tuned_rows
from pebench.leaderboard.tuning import TunedRow
from pebench.specification.flat_spec import setting_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 24

_LETTERS = 54
"""In a line of a title, which would be wider than its panel otherwise."""

_ROOM = 0.06
"""Of the range of scores, above and below."""

_LABEL = 0.12
"""Of the width of a panel: the room that a number takes below it."""

_LONG = 2e3
"""See `log_labels`."""


def draw(board: Board) -> Figure | None:
    """A panel an encoding; None for a sweep that tunes nothing. Panels of a table have one range."""
    tuned = [
        (table, label, row, path)
        for table in board.tables
        for label, row in tuned_rows(board, table)
        for path in panel_axes(row)
    ]
    wanted = tuned[:_MOST_PANELS]
    if not wanted:
        return None
    figure, axes = panels(len(wanted), 4.2, 2.6)
    for each, (table, label, row, path) in zip(axes, wanted, strict=True):
        _panel(each, label, row, path)
        scores = [score for other, _, own, _ in wanted if other is table for score in _scores(own)]
        if scores:
            room = (max(scores) - min(scores) or 1.0) * _ROOM
            each.set_ylim(min(scores) - room, max(scores) + room)
    figure.supxlabel(_caption([row for _, _, row, _ in wanted], len(tuned)), fontsize=9)
    return figure


def _caption(rows: list[TunedRow], count: int) -> str:
    """What the trials are judged by, and how many panels are left out."""
    judged = "; ".join(sorted({row.choice.place for row in rows}))
    left_out = f"; the first {len(rows)} of {count}, tuning.csv has all" if len(rows) < count else ""
    scored = all(
        math.isfinite(row.mean(place)) for row in rows for place in range(len(row.choice.candidates))
    )
    without = "" if scored else ", crosses have no score"
    return f"trials, by {judged}; stars are what was chosen{without}{left_out}"


def _scores(row: TunedRow) -> list[float]:
    return [score for own in row.chosen.scores for score in own if score is not None]


def _panel(axes: Axes, label: str, row: TunedRow, path: str) -> None:
    axes.set_title(fill(label, _LETTERS), loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    # Trials that were drawn differ in everything, so that no line leads from one to another.
    drawn = not _is_grid(row)
    others = [other for other in row.chosen.settings if other != path]
    values = list(dict.fromkeys(setting_text(c.settings[path]) for c in row.choice.candidates))
    numbers = [_number(c.settings[path]) for c in row.choice.candidates]
    numeric = all(math.isfinite(number) for number in numbers)
    if not numeric:
        numbers = [float(values.index(setting_text(c.settings[path]))) for c in row.choice.candidates]
        axes.set_xticks(range(len(values)), values)
        axes.set_xlim(-0.5, len(values) - 0.5)
    elif min(numbers) > 0:
        log_axis(axes, sorted(set(numbers)))
    lines: dict[tuple[str, ...], list[int]] = {}
    for place, candidate in enumerate(() if drawn else row.choice.candidates):
        lines.setdefault(tuple(setting_text(candidate.settings[name]) for name in others), []).append(place)
    for rest, places in lines.items():
        known = sorted(
            (numbers[place], row.mean(place)) for place in places if math.isfinite(row.mean(place))
        )
        name = ", ".join(f"{p.rpartition('.')[2]}={v}" for p, v in zip(others, rest, strict=True))
        axes.plot([x for x, _ in known], [y for _, y in known], marker="o", markersize=3.5, label=name)
    for place, number in enumerate(numbers):
        scores = [score for score in row.chosen.scores[place] if score is not None]
        axes.plot(
            [number] * len(scores), scores, linestyle="", marker="o", markersize=5, color="0.4", mfc="none"
        )
        if not math.isfinite(row.mean(place)):
            at = axes.get_xaxis_transform()
            axes.plot([number], [0.97], marker="x", color="tab:red", transform=at, clip_on=False)
    best = row.chosen.candidate
    axes.plot([numbers[best]], [row.mean(best)], marker="*", markersize=11, color="black", zorder=3)
    if len(lines) > 1:
        axes.legend(fontsize=6, frameon=False)
    axes.grid(axis="y", alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"{path}, chosen {setting_text(row.chosen.settings[path])}{row.mark(path)}", fontsize=8)
    unit = row.chosen.record.unit or row.choice.metric
    better = "higher" if row.chosen.record.higher_is_better else "lower"
    axes.set_ylabel(f"{unit}\n{better} is better", fontsize=8)


def log_axis(axes: Axes, numbers: list[float]) -> None:
    """Labels every number that was tried, or round ones where these stand too close."""
    axes.set_xscale("log")
    gaps = [math.log(high / low) for low, high in pairwise(numbers)]
    if not gaps or min(gaps) > _LABEL * sum(gaps):
        axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
        axes.minorticks_off()
        return
    room = (numbers[-1] / numbers[0]) ** 0.05
    axes.set_xlim(numbers[0] / room, numbers[-1] * room)
    log_labels(axes.xaxis, _LONG)


def _is_grid(row: TunedRow) -> bool:
    """Whether every combination of the values was tried."""
    tried = [[setting_text(value) for value in c.settings.values()] for c in row.choice.candidates]
    return math.prod(len(set(values)) for values in zip(*tried, strict=True)) == len(tried)


def panel_axes(row: TunedRow) -> list[str]:
    """The settings along the axis: of a grid the one with the most numbers, of draws each."""
    paths = list(row.chosen.settings)
    if not _is_grid(row):
        return paths
    counts = {
        path: len({n for c in row.choice.candidates if math.isfinite(n := _number(c.settings[path]))})
        for path in paths
    }
    return [max(paths, key=lambda path: counts[path])]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
