"""The picture of one finished run: its loss by step, and its scores by extent."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import TYPE_CHECKING

from pebench.scores import extent_name, positions
from pebench.store import Result, RunFolder
from pebench.task_record import task_record

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(folder: RunFolder, title: str) -> bytes:
    """A finished run as a PNG file, the same bytes for the same files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Everything has a fixed place: measuring texts for a layout doubles the time, and a pass may draw a
    # thousand of these.
    figure = Figure(figsize=(9.0, 3.6))
    figure.subplots_adjust(left=0.085, right=0.98, top=0.83, bottom=0.14, wspace=0.26)
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    for axes, left in ((losses, -0.11), (scores, -0.165)):
        axes.xaxis.set_label_coords(0.5, -0.11)
        axes.yaxis.set_label_coords(left, 0.5)
    figure.suptitle(title)
    _draw_losses(losses, folder)
    result = folder.result()
    if result is not None:
        _draw_scores(scores, result, task_record(folder.spec(), folder.provenance()).trained_extent)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return picture.getvalue()


def _draw_losses(axes: Axes, folder: RunFolder) -> None:
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for point in folder.points():
        for name, value in point.values.items():
            if name.endswith("loss") and value is not None:
                curves[name].setdefault(point.step, value)
    for name, curve in sorted(curves.items()):
        axes.plot(list(curve), list(curve.values()), label=name, linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss")
    axes.set_title("training", y=1.02)
    axes.grid(alpha=0.25)
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
    axes.grid(alpha=0.25)
    if lines:
        axes.set_xscale("log", base=2)
        axes.set_xticks([positions(extent) for extent in extents], [extent_name(e) for e in extents])
        axes.minorticks_off()
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, result.status, transform=axes.transAxes, ha="center", va="center")
    if trained is not None and lines:
        axes.axvline(positions(trained), color="0.5", linestyle=":", linewidth=1)
