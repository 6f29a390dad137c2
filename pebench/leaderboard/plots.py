"""The picture of a sweep: score against extent, one line an encoding."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pebench import atomic
from pebench.leaderboard.wide import Line, Wide
from pebench.scores import extent_name, positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which are told apart without seeing red or green; their yellow is too pale for a line."""

_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_ROOM = 0.4
_LABEL_WIDTH = 32
_MOST_LINES = 21
"""More could neither be told apart by colour and dashes nor be named beside the panel."""

_WIDE_RANGE = 8.0
"""Ratio of the largest to the smallest mean beyond which scores are drawn on a logarithmic axis."""


def draw(tables: list[Wide], folder: Path) -> list[Path]:
    """Draws `score-by-extent.png` and `.svg`, the same bytes for the same tables.

    Args:
        tables: a panel each. folder: where to.

    Returns:
        The files.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    files = []
    with matplotlib.style.context(["default", {"svg.hashsalt": "pebench", "font.size": 10.0}]):
        columns = min(2, len(tables))
        rows = -(-len(tables) // columns)
        figure = Figure(figsize=(7.2 * columns, 4.6 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, table in zip(panels, tables, strict=False):
            _panel(axes, table)
        for axes in list(panels)[len(tables) :]:
            axes.set_axis_off()
        _label_lines(figure)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            file = folder / f"score-by-extent.{kind}"
            with atomic.replacing(file) as temporary:
                figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
            files.append(file)
    return files


def _panel(axes: Axes, table: Wide) -> None:
    axes.set_title(table.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    complete = [line for line in table.lines if _points(table, line)]
    drawn = sorted(complete[:_MOST_LINES], key=lambda line: line.label)
    if not drawn:
        axes.text(0.5, 0.5, "no complete result yet", transform=axes.transAxes, ha="center", va="center")
        axes.set(xticks=[], yticks=[])
        return
    for number, line in enumerate(drawn):
        _line(axes, table, line, number)
    unit = f" ({table.record.unit})" if table.record.unit else ""
    axes.set_ylabel(
        f"{table.metric}{unit}\n{'higher' if table.record.higher_is_better else 'lower'} is better"
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks([positions(e) for e in table.extents], [extent_name(e) for e in table.extents])
    axes.minorticks_off()
    means = [mean for line in drawn for _, mean, _ in _points(table, line)]
    if min(means) > 0 and max(means) / min(means) > _WIDE_RANGE:
        axes.set_yscale("log")
    cut = _look_at_means(axes, means)
    axes.grid(axis="y", alpha=0.25)
    axes.set_xlabel(_extent_label(table, complete, cut))
    for extent in sorted(table.trained):
        axes.axvline(positions(extent), color="0.5", linestyle=":", linewidth=1, zorder=0)
        axes.annotate(
            " trained",
            (positions(extent), 1.0),
            xycoords=("data", "axes fraction"),
            color="0.4",
            va="top",
            fontsize=8,
        )


def _look_at_means(axes: Axes, means: list[float]) -> bool:
    """Keeps the intervals of few seeds, which may be many times as wide as all differences, from squeezing
    the lines into one.

    Returns:
        Whether an interval leaves the picture.
    """
    transform = axes.transData
    bottom, top = (transform.transform((1.0, mean))[1] for mean in (min(means), max(means)))
    room = max(top - bottom, 0.25 * axes.bbox.height) * _ROOM
    inverse = transform.inverted()
    lowest, highest = (inverse.transform((0.0, height))[1] for height in (bottom - room, top + room))
    before = axes.get_ylim()
    axes.set_ylim(max(before[0], lowest), min(before[1], highest))
    return bool(before[0] < lowest or before[1] > highest)


def _extent_label(table: Wide, complete: list[Line], cut: bool) -> str:
    incomplete = sorted({line.label for line in table.lines} - {line.label for line in complete})
    sentences = ["extent (positions)"]
    if len(complete) > _MOST_LINES:
        sentences.append(f"the best {_MOST_LINES} of {len(complete)}")
    if cut:
        sentences.append("some intervals leave the picture; the table has them")
    if incomplete:
        names = ", ".join(incomplete) if len(incomplete) <= 5 else f"{len(incomplete)} lines"
        sentences.append(f"incomplete or diverged, not drawn: {names}")
    return "\n".join(sentences)


def _line(axes: Axes, table: Wide, line: Line, number: int) -> None:
    extents, means, widths = zip(*_points(table, line), strict=True)
    axes.errorbar(
        extents,
        means,
        yerr=widths,
        label=line.label,
        color=_COLOURS[number % len(_COLOURS)],
        linestyle=_DASHES[number // len(_COLOURS) % len(_DASHES)],
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=4.5,
        linewidth=1.6,
        capsize=3,
        elinewidth=1,
    )


def _points(table: Wide, line: Line) -> list[tuple[int, float, float]]:
    """Extent, mean and half width (0 where one seed has none) of the cells that are known."""
    cells = [(extent, line.cells[extent]) for extent in table.extents if extent in line.cells]
    return [
        (positions(extent), cell.mean, 0.0 if math.isnan(cell.half_width) else cell.half_width)
        for extent, cell in cells
        if cell.known
    ]


def _label_lines(figure: Figure) -> None:
    """Names each line at its right end, pushed apart so that no two names overlap."""
    import numpy

    figure.draw_without_rendering()
    gap = 13.0 * figure.dpi / 72.0
    for axes in figure.axes:
        ends = []
        lines = _lines_of(axes)
        names = _short([label for _, label in lines])
        for line, label in lines:
            x, y = numpy.asarray(line.get_xydata())[-1].tolist()
            ends.append((float(axes.transData.transform((x, y))[1]), label, (x, y), line))
        ends.sort(key=lambda end: end[:2])
        places = spread([height for height, *_ in ends], gap, axes.bbox.y0, axes.bbox.y1)
        for place, (_, label, end, line) in zip(places, ends, strict=True):
            axes.annotate(
                names[label],
                end,
                xytext=(1.02, axes.transAxes.inverted().transform((0.0, place))[1]),
                textcoords="axes fraction",
                color=line.get_color(),
                va="center",
                fontsize=9,
                arrowprops={
                    "arrowstyle": "-",
                    "color": line.get_color(),
                    "alpha": 0.35,
                    "relpos": (0.0, 0.5),
                },
            )


def _short(labels: list[str]) -> dict[str, str]:
    """Labels without their options, where they can be told apart so."""
    bare = Counter(label.partition("(")[0] for label in labels)
    return {
        label: label.partition("(")[0]
        if bare[label.partition("(")[0]] == 1
        else "\n".join(textwrap.wrap(label, _LABEL_WIDTH))
        for label in labels
    }


def spread(heights: list[float], gap: float, lowest: float, highest: float) -> list[float]:
    """Ascending heights, moved until they are `gap` apart, and inside the bounds if there is room."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + gap if places else lowest))
    ceiling = highest
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places


def _lines_of(axes: Axes) -> list[tuple[Line2D, str]]:
    """The lines that `errorbar` drew, with their labels."""
    from matplotlib.container import ErrorbarContainer

    drawn = [container for container in axes.containers if isinstance(container, ErrorbarContainer)]
    return [(container.lines[0], str(container.get_label())) for container in drawn]
