"""The picture of one finished run: its loss by step, and its scores by extent."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from pebench.store.records import Point, Result
from pebench.store.run_folder import RunFolder
from pebench.store.scores import extent_name, positions
from pebench.store.task_record import task_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(folder: RunFolder, points: Iterable[Point], title: str) -> bytes:
    """A finished run as an SVG file, the same bytes for the same run. To be called by one thread alone.

    Args:
        folder: of the run. points: its metrics, in file order.
        title: stands above the plots.
    """
    import matplotlib as mpl

    figure, losses, scores = _sheet()
    for axes in (losses, scores):
        _clear(axes)
    figure.suptitle(title)
    _draw_losses(losses, points)
    result = folder.result()
    if result is not None:
        _draw_scores(scores, result, task_record(folder.spec(), folder.provenance()).trained_extent)
    picture = io.BytesIO()
    # Letters stay letters, since outlines of each would take more time and room than all the rest. Names
    # within the file are drawn at random without the salt.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pebench"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


@cache
def _sheet() -> tuple[Figure, Axes, Axes]:
    """A figure and its two plots, of which every picture is made: a third of its time would go into new
    ones."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Everything has a fixed place: measuring texts for a layout doubles the time, and a pass may draw a
    # thousand of these.
    figure = Figure(figsize=(9.0, 3.6))
    figure.subplots_adjust(left=0.085, right=0.98, top=0.83, bottom=0.14, wspace=0.26)
    FigureCanvasSVG(figure)
    losses, scores = figure.subplots(1, 2)
    for axes, left in ((losses, -0.11), (scores, -0.165)):
        axes.xaxis.set_label_coords(0.5, -0.11)
        axes.yaxis.set_label_coords(left, 0.5)
        axes.grid(alpha=0.25)
        # A tick takes as long as a curve, and the grid says where it is.
        axes.tick_params(which="both", left=False, bottom=False)
        axes.locator_params(nbins=5)
        # Scores that differ in the third decimal are labelled in full, not as what is to be added to one.
        axes.ticklabel_format(axis="y", useOffset=False)
    return figure, losses, scores


def _clear(axes: Axes) -> None:
    """Takes out what an earlier picture has put in. `Axes.clear` would throw the ticks away too, which take
    the most time to make."""
    for artist in (*axes.lines, *axes.texts):
        artist.remove()
    if (legend := axes.get_legend()) is not None:
        legend.remove()
    axes.set_prop_cycle(None)
    axes.set_xscale("linear")
    # They stay as they are where there is nothing to show.
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.relim()
    axes.autoscale(True)


def _draw_losses(axes: Axes, points: Iterable[Point]) -> None:
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for point in points:
        for name, value in point.values.items():
            if name.endswith("loss") and value is not None:
                curves[name].setdefault(point.step, value)
    for name, curve in sorted(curves.items()):
        axes.plot(list(curve), list(curve.values()), label=name, linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss")
    axes.set_title("training", y=1.02)
    if curves:
        axes.legend(frameon=False)


def _draw_scores(axes: Axes, result: Result, trained: tuple[int, ...] | None) -> None:
    headline = next(iter(result.metrics), "")
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    extents = sorted(
        {score.extent for score in result.scores}, key=lambda extent: (positions(extent), extent)
    )
    for score in result.scores:
        if score.metric == headline and score.value is not None:
            lines[score.extrapolation].append((positions(score.extent), score.value))
    for extrapolation, line in lines.items():
        axes.plot(*zip(*sorted(line), strict=True), marker="o", markersize=4, label=extrapolation)
    unit = result.metrics[headline].unit if headline else ""
    axes.set(xlabel="extent", ylabel=f"{headline} ({unit})" if unit else headline)
    axes.set_title("evaluation", y=1.02)
    if lines:
        axes.set_xscale("log", base=2)
        axes.set_xticks([positions(extent) for extent in extents], [extent_name(e) for e in extents])
        axes.minorticks_off()
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, result.status, transform=axes.transAxes, ha="center", va="center")
    if trained is not None and lines:
        axes.axvline(positions(trained), color="0.5", linestyle=":", linewidth=1)
