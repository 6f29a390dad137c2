"""The common style of the pictures: colours, names beside lines, and how they become files."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from pebench.leaderboard.tables import LeaderboardTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3c36fa", "#f9a514", "#226856", "#b850c2", "#625d06", "#c9b67c", "black")
"""Told apart without seeing red or green, on white and on black, where black becomes white. Found by a random
search for the largest of the smallest differences that are left under the simulation of Machado et al. (2009)."""

_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

MOST_LINES = 21
"""More could neither be told apart by colour and dashes nor be named beside the panel."""

_INK = "#010203"
"""Stands for the text colour of the page that a picture will be part of."""

_LABEL_WIDTH = 32


class Look(NamedTuple):
    """How a line is drawn, the same in every panel and picture of a sweep."""

    colour: str
    dash: str
    marker: str


def looks(tables: Sequence[LeaderboardTable]) -> dict[str, Look]:
    """The look of every row's line, by label."""
    import matplotlib

    ink = str(matplotlib.rcParams["text.color"])
    colours = [ink if colour == "black" else colour for colour in COLOURS]
    labels = sorted({row.label for table in tables for row in table.rows})
    return {
        label: Look(
            colours[number % len(colours)],
            _DASHES[number // len(colours) % len(_DASHES)],
            # Lines of one colour have markers of their own as well as dashes.
            _MARKERS[(number + 3 * (number // len(colours))) % len(_MARKERS)],
        )
        for number, label in enumerate(labels)
    }


@contextmanager
def plain() -> Iterator[None]:
    """Pictures for files: black on white, whatever the user's settings of matplotlib are."""
    import matplotlib.style

    with matplotlib.style.context(["default", {"svg.hashsalt": "pebench", "font.size": 10.0}]):
        yield


@contextmanager
def inline_svg(salt: str) -> Iterator[Callable[[Figure], str]]:
    """Pictures for inside a page: no background, and text that the page's font and colour apply to.

    Args:
        salt: keeps the names inside the picture apart from those of another on the page.
    """
    import matplotlib.style

    inked = (
        "text.color",
        "axes.edgecolor",
        "axes.labelcolor",
        "axes.titlecolor",
        "xtick.color",
        "ytick.color",
    )
    settings = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.size": 10.0,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(inked, _INK),
    }

    def text_of(figure: Figure) -> str:
        text = rendered(figure, "svg").decode()
        text = text[text.index("<svg") :].replace(_INK, "currentColor")
        # On a phone it is scrolled rather than shrunk until nothing can be read.
        text = re.sub(r'<svg (.*?)width="([\d.]+)pt"', _not_too_small, text, count=1, flags=re.DOTALL)
        text = re.sub(r" <metadata>.*?</metadata>\n", "", text, flags=re.DOTALL)
        text = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1inherit", text)
        text = re.sub(r"font: ((?:\d+ )?[\d.]+px) inherit", r"font: \1 system-ui, sans-serif", text)
        # Places need no more than a hundredth of a point; numbers that are written out stay whole.
        return re.sub(r'="[^"<>]*"', lambda match: re.sub(r"(\d+\.\d{2})\d+", r"\1", match[0]), text)

    with matplotlib.style.context(["default", settings]):
        yield text_of


def _not_too_small(match: re.Match[str]) -> str:
    return f'<svg style="min-width: {float(match[2]) * 0.7:.0f}px" {match[1]}width="{match[2]}pt"'


def rendered(figure: Figure, kind: Literal["png", "svg"] | str) -> bytes:
    """The content of a file, without the time or the program's version in it."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150, metadata=metadata)
    return content.getvalue()


def panels(tables: int, width: float, height: float | Sequence[float]) -> tuple[Figure, list[Axes]]:
    """A figure of two columns of panels.

    Args:
        tables: how many panels. width: of each, in inches. height: of all, or of each.
    """
    from matplotlib.figure import Figure

    columns = min(2, tables)
    rows = -(-tables // columns)
    heights = [height] * tables if isinstance(height, (int, float)) else list(height)
    tallest = [max(heights[row * columns : (row + 1) * columns]) for row in range(rows)]
    figure = Figure(figsize=(width * columns, sum(tallest)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=tallest)
    axes = list(grid.flat)
    for empty in axes[tables:]:
        empty.set_axis_off()
    return figure, axes[:tables]


def finite_width(half_width: float) -> float:
    """Half the width of an interval as it is drawn: 0 where one seed has none."""
    return 0.0 if math.isnan(half_width) else half_width


_LONG = 1e4
"""Ratio of an axis's ends beyond which its powers of ten alone are enough labels."""


def log_scores(axes: Axes) -> None:
    """Makes the axis of scores logarithmic, with a number at 1, 2 and 5 of every power of ten that it reaches,
    or at the powers alone where they are many.

    The default labels an axis of less than a power of ten with two numbers or with six, as it happens.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    bottom, top = axes.get_ylim()
    subs = (1.0,) if top / bottom > _LONG else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(10.0, subs=subs, numticks=30))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def nothing_to_show(axes: Axes) -> None:
    """Says so in place of a picture."""
    axes.text(0.5, 0.5, "no complete result yet", transform=axes.transAxes, ha="center", va="center")
    axes.set(xticks=[], yticks=[])


class End(NamedTuple):
    """A line's last point, or a point of its own, that is to be named at the right of its panel."""

    x: float
    y: float
    label: str
    look: Look
    line: bool = True


def name_at_the_right(figure: Figure, ends: dict[Axes, list[End]]) -> None:
    """Writes the names of lines beside their panel, pushed apart so that no two of them overlap."""
    figure.draw_without_rendering()
    gap = 13.0 * figure.dpi / 72.0
    for axes, own in ends.items():
        names = short_names([end.label for end in own])
        placed = sorted((float(axes.transData.transform((end.x, end.y))[1]), end) for end in own)
        places = spread([height for height, _ in placed], gap, axes.bbox.y0, axes.bbox.y1)
        for place, (_, end) in zip(places, placed, strict=True):
            colour, dash, marker = end.look
            height = axes.transAxes.inverted().transform((0.0, place))[1]
            axes.annotate(
                "",
                (end.x, end.y),
                xytext=(1.03, height),
                textcoords="axes fraction",
                arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.35, "shrinkA": 0, "shrinkB": 0},
            )
            axes.plot(
                [1.03, 1.07, 1.11] if end.line else [1.07],
                [height] * (3 if end.line else 1),
                color=colour,
                linestyle=dash,
                linewidth=1.6,
                marker=marker,
                markevery=[1] if end.line else None,
                markersize=4.5,
                transform=axes.transAxes,
                clip_on=False,
            )
            axes.annotate(
                names[end.label],
                (1.12, height),
                xycoords="axes fraction",
                color=colour,
                va="center",
                fontsize=9,
            )


def short_names(labels: list[str]) -> dict[str, str]:
    """Labels without their options, where they can be told apart so."""
    bare = Counter(_bare(label) for label in labels)
    return {
        label: _bare(label) if bare[_bare(label)] == 1 else "\n".join(textwrap.wrap(label, _LABEL_WIDTH))
        for label in labels
    }


def _bare(label: str) -> str:
    return label.partition("(")[0]


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
