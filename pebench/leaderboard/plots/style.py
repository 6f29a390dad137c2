"""The common style of the pictures: colours, names beside lines, and how they become files."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from pebench.leaderboard.tables import LeaderboardTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#3c36fa", "#f9a514", "#226856", "#b850c2", "#625d06", "#c9b67c", "black")
"""Told apart without seeing red or green, on white and on black, where black becomes white. Found by a random
search for the largest of the smallest differences that the simulation of Machado et al. (2009) leaves."""

_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

MOST_LINES = 21
"""More could neither be told apart by colour and dashes nor be named beside the panel."""

WIDE_RANGE = 8.0
"""Ratio of the largest to the smallest value beyond which scores are drawn on a logarithmic axis."""

_TITLE_WIDTH = 66
"""Letters of a line of a title."""

_LABEL_WIDTH = 32


class Look(NamedTuple):
    """How a line is drawn, the same in every panel and picture of a sweep."""

    colour: str
    dash: str
    marker: str


def looks(tables: Sequence[LeaderboardTable]) -> dict[str, Look]:
    """The look of every row's line, by label."""
    labels = sorted({row.label for table in tables for row in table.rows})
    return {
        label: Look(
            COLOURS[number % len(COLOURS)],
            _DASHES[number // len(COLOURS) % len(_DASHES)],
            # Lines of one colour have markers of their own as well as dashes.
            _MARKERS[(number + 3 * (number // len(COLOURS))) % len(_MARKERS)],
        )
        for number, label in enumerate(labels)
    }


def names_of(tables: Sequence[LeaderboardTable]) -> dict[str, str]:
    """The short name of every row's line, by label, drawn or not: what is drawn is told from what is not."""
    return short_names(sorted({row.label for table in tables for row in table.rows}))


@contextmanager
def plain() -> Iterator[None]:
    """Black on white, whatever the user's settings of matplotlib are."""
    import matplotlib.style

    with matplotlib.style.context(["default", {"svg.hashsalt": "pebench", "font.size": 10.0}]):
        yield


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


def entitle(axes: Axes, title: str) -> None:
    """Writes a title over a panel of `panels`, in as many lines as keep it off the title beside it."""
    axes.set_title(textwrap.fill(title, _TITLE_WIDTH), loc="left")


def score_label(table: LeaderboardTable, where: str = "") -> str:
    """The metric of an axis of scores, its unit, where they are taken, and which way is up."""
    unit = f" ({table.record.unit})" if table.record.unit else ""
    return f"{table.metric}{unit}{where}\n{'higher' if table.record.higher_is_better else 'lower'} is better"


def finite_width(half_width: float) -> float:
    """Half the width of an interval as it is drawn: 0 where one seed has none."""
    return 0.0 if math.isnan(half_width) else half_width


_LONG = 1e4
"""Ratio of an axis's ends beyond which its powers of ten alone are enough labels."""


def log_scores(axes: Axes) -> None:
    """Makes the axis of scores logarithmic; see `log_labels`."""
    axes.set_yscale("log")
    log_labels(axes.yaxis, _LONG)


def number_percents(axes: Axes) -> None:
    """Numbers an axis of percents between 0 and 100 alone, however far it reaches."""
    reach = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if 0.0 <= tick <= 100.0])
    axes.set_ylim(reach)


def log_labels(axis: Axis, long: float) -> None:
    """Labels a logarithmic axis with a number at 1, 2 and 5 of every power of ten, at the powers alone, or at
    more numbers where these were fewer than three.

    The default labels an axis of less than a power of ten with two numbers or with six, as it happens.

    Args:
        axis: one of the two.
        long: ratio of its ends beyond which the powers alone are enough.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    bottom, top = axis.get_view_interval()
    subs = [1.0] if top / bottom > long else [1.0, 2.0, 5.0]
    if (
        sum(bottom <= tick <= top for tick in LogLocator(10.0, subs, numticks=30).tick_values(bottom, top))
        < 3
    ):
        subs = [1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
    axis.set_major_locator(LogLocator(10.0, subs=subs, numticks=30))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


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


def name_at_the_right(figure: Figure, ends: dict[Axes, list[End]], names: Mapping[str, str]) -> None:
    """Writes the names of lines beside their panel, pushed apart so that no two of them overlap.

    A figure whose panels are too low for that becomes higher.

    Args:
        figure: of the panels. ends: of the lines of each panel. names: by label, see `names_of`.
    """
    line = 13.0 * figure.dpi / 72.0

    def heights(own: list[End]) -> list[float]:
        return [line * (1 + names[end.label].count("\n")) for end in own]

    figure.draw_without_rendering()
    lacking = max((sum(heights(own)) / axes.bbox.height for axes, own in ends.items()), default=1.0)
    if lacking > 1.0:
        figure.set_figheight(figure.get_figheight() * lacking)
        figure.draw_without_rendering()
    for axes, own in ends.items():
        placed = sorted((float(axes.transData.transform((end.x, end.y))[1]), end) for end in own)
        sizes = heights([end for _, end in placed])
        places = spread([height for height, _ in placed], sizes, axes.bbox.y0, axes.bbox.y1)
        for place, (_, end) in zip(places, placed, strict=True):
            colour, dash, marker = end.look
            height = axes.transAxes.inverted().transform((0.0, place))[1]
            axes.annotate(
                "",
                (end.x, end.y),
                xytext=(1.02, height),
                textcoords="axes fraction",
                arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.35, "shrinkA": 0, "shrinkB": 0},
            )
            axes.plot(
                [1.02, 1.05, 1.08] if end.line else [1.05],
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
                (1.09, height),
                xycoords="axes fraction",
                color=colour,
                va="center",
                fontsize=9,
            )


def short_names(labels: list[str]) -> dict[str, str]:
    """Labels without what all labels of an encoding share: its options, and the settings of its training."""
    parts = {label: _parts(label) for label in labels}
    alike: dict[str, list[set[str]]] = {}
    for each in parts.values():
        alike.setdefault(each.name, []).append({*each.options, *each.settings})
    short = {}
    for label, each in parts.items():
        shared = set.intersection(*alike[each.name])
        options, settings = (
            ", ".join(item for item in items if item not in shared) for items in (each.options, each.settings)
        )
        said = (
            each.name
            + (f"({options})" if options else "")
            + each.protocol
            + (f" [{settings}]" if settings else "")
        )
        short[label] = "\n".join(textwrap.wrap(said, _LABEL_WIDTH))
    return short


class _Parts(NamedTuple):
    name: str
    protocol: str
    options: list[str]
    settings: list[str]


_LABEL = re.compile(
    r"(?P<name>[^(\[]+)(\((?P<options>.*)\))?(?P<protocol>[^()\[\]]*?)( \[(?P<settings>.*)\])?"
)


def _parts(label: str) -> _Parts:
    """A label `name(option, option), protocol [setting, setting]` in its parts."""
    found = _LABEL.fullmatch(label)
    if not found or ")" in re.sub(r"\(.*?\)", "", found["options"] or ""):
        return _Parts(label, "", [], [])
    options, settings = (_items(found[part] or "") for part in ("options", "settings"))
    # Without options the name reaches to the settings.
    name, comma, protocol = found["name"].partition(",")
    return _Parts(name, comma + protocol + found["protocol"], options, settings)


def _items(text: str) -> list[str]:
    """What commas part outside of brackets."""
    items, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items if item.strip()]


def spread(heights: list[float], sizes: list[float], lowest: float, highest: float) -> list[float]:
    """Ascending heights, moved until things of these sizes do not overlap, in the bounds if there is room."""
    gaps = [0.0, *((below + above) / 2 for below, above in pairwise(sizes))]
    places: list[float] = []
    for height, gap in zip(heights, gaps, strict=False):
        places.append(max(height, places[-1] + gap if places else lowest))
    ceiling = highest
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gaps[index]
    return places
