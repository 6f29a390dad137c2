"""Draws portraits: curves by distance in 1-D, maps in 2-D, one of each head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pebench.plugins.registry import encodings
from pebench.portrait.logits import Portrait, portrait

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
"""Endings that a picture's file may have."""

METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""Metadata that changes from one drawing to the next and is left out, by format."""

COLOURS = ("#3c36fa", "#f9a514", "#226856", "#b850c2")
"""Of the heads, told apart without red or green as well; dashes tell them apart in grey."""

DASHES = ("-", "--", "-.", ":")

LEAST_SPAN = 0.5
"""Logits that an axis spans at least, so that next to nothing looks like next to nothing."""

ACROSS = 3
"""Curves beside each other."""


def portraits(name: str, options: Mapping[str, Any]) -> list[Portrait]:
    """A curve for each way past the trained extent, and a map, as far as the encoding serves them; of one
    that serves three axes alone, maps of the query's frame and of one two frames on."""
    encoding = encodings.load(name)
    methods = encoding.extrapolations
    curves = [portrait(name, options, 1, method) for method in methods if 1 in encoding.axes]
    if encoding.axes == (3,):
        return [portrait(name, options, 3, frames=frames) for frames in (0, 2)]
    return curves + ([portrait(name, options, 2)] if 2 in encoding.axes else [])


def picture_of(name: str, options: Mapping[str, Any], path: Path) -> list[Portrait]:
    """Writes the picture of an encoding: its curves, its maps, or both.

    Returns:
        What it shows.
    """
    shown = portraits(name, options)
    several = sum(len(picture.extent) == 1 for picture in shown) > 1
    save(draw([(_title(name, picture, several), picture) for picture in shown]), path)
    return shown


def _title(name: str, picture: Portrait, several: bool) -> str:
    if len(picture.extent) == 1:
        return f"{name}, {picture.method}" if several else name
    place = {None: "2-D", 0: "3-D, own frame"}.get(picture.frames, f"3-D, {picture.frames} frames on")
    return f"{name}, {place}"


def save(figure: Figure, path: Path) -> None:
    """Writes a picture, in the format that the name of its file ends in."""
    from pebench import atomic

    kind = path.suffix.removeprefix(".")
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=METADATA[path.suffix])
        if kind == "png":
            _save_colours(temporary)


def _save_colours(path: Path) -> None:
    """Writes a picture with 256 colours, the nearest to its own: a third of the bytes, and the eye sees no
    difference."""
    from PIL import Image

    plain = Image.open(path).convert("RGB")
    few = plain.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    few.save(path, format="png", optimize=True)


def draw(pictures: list[tuple[str, Portrait]], across: int = ACROSS) -> Figure:
    """Curves above, on one scale, so many beside each other, and maps below, each under its title."""
    from matplotlib.figure import Figure

    curves = [(title, picture) for title, picture in pictures if len(picture.extent) == 1]
    maps = [(title, picture) for title, picture in pictures if len(picture.extent) == 2]
    rows = -(-len(curves) // across)
    heights = [2.9] * rows + [2.6] * len(maps)
    width = 8.6 if maps or len(curves) > 1 else 5.2
    figure = Figure(figsize=(width, sum(heights)), layout="constrained", dpi=96)
    # With one empty line beside it a figure of one part is an array too.
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    low, high = _span([picture for _, picture in curves])
    # Above all curves there is room for a word.
    high += 0.06 * (high - low)
    for row in range(rows):
        shown = curves[row * across : (row + 1) * across]
        places = parts[row].subplots(1, min(len(curves), across), squeeze=False)[0]
        for place in places[len(shown) :]:
            place.set_axis_off()
        for place, (title, picture) in zip(places, shown, strict=False):
            _draw_curves(place, picture)
            place.set(title=title, ylim=(low, high))
        places[0].set_ylabel("change of the logit")
        handles, labels = places[0].get_legend_handles_labels()
        parts[row].legend(handles, labels, fontsize=7, frameon=False, loc="outside right center")
    for part, (title, picture) in zip(parts[rows:], maps, strict=True):
        _draw_maps(part, picture)
        part.suptitle(title, fontsize="large")
    return figure


def _span(pictures: list[Portrait]) -> tuple[float, float]:
    """Lower and upper end of an axis that holds all of them."""
    seen = [picture.change[picture.change.isfinite()] for picture in pictures]
    low = min((float(values.min()) for values in seen), default=0.0)
    high = max((float(values.max()) for values in seen), default=0.0)
    wanting = max(0.0, LEAST_SPAN - (high - low)) / 2
    margin = 0.05 * max(high - low, LEAST_SPAN)
    return low - wanting - margin, high + wanting + margin


def _draw_curves(place: Any, picture: Portrait) -> None:
    for head, change in enumerate(picture.change):
        style = {
            "color": COLOURS[head % len(COLOURS)],
            "linestyle": DASHES[(head + head // len(COLOURS)) % len(DASHES)],
        }
        place.plot(change.numpy(), linewidth=1.2, label=f"head {head + 1}", **style)
    trained = picture.trained[0]
    place.axvspan(0, trained - 1, color="0.93", linewidth=0, zorder=0)
    place.annotate(
        "trained",
        (trained / 2, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, -3),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7,
        color="0.35",
    )
    ticks = range(0, picture.extent[0] + 1, trained)
    place.set(xlabel="distance from query to key", xticks=ticks, xlim=(0, picture.extent[0] - 1))


def _draw_maps(figure: Any, picture: Portrait) -> None:
    import torch
    from matplotlib.patches import Rectangle

    rows, columns = picture.extent
    row, column = picture.query
    low, high = _span([picture])
    places = figure.subplots(1, len(picture.change), squeeze=False, sharey=True)[0]
    for head, (place, change) in enumerate(zip(places, picture.change, strict=True)):
        cells = change.masked_fill(change.isinf(), torch.nan).reshape(rows, columns).numpy()
        edges = (-column - 0.5, columns - column - 0.5, rows - row - 0.5, -row - 0.5)
        image = place.imshow(
            cells, cmap="cividis", interpolation="nearest", extent=edges, vmin=low, vmax=high
        )
        height, width = (2 * size - 1 for size in picture.trained)
        frame: dict[str, Any] = {"fill": False, "edgecolor": "white", "linestyle": "--", "linewidth": 1}
        place.add_patch(Rectangle((-width / 2, -height / 2), width, height, **frame))
        place.plot(0, 0, "o", color="#d55e00", markeredgecolor="white", markersize=4, markeredgewidth=0.7)
        place.set_facecolor("0.8")
        place.set_title(f"head {head + 1}", fontsize=9)
        across, down = (_ticks(size) for size in (columns, rows))
        place.set(xlabel="columns to the key", xticks=across, yticks=down)
    places[0].set_ylabel("rows to the key")
    figure.colorbar(image, ax=list(places), shrink=0.75, label="change of the logit")


def _ticks(size: int) -> tuple[int, ...]:
    """Distances at an axis of so many cells, of which the middle is 0: even ones, two on either side."""
    step = max(1, round(3 * size / 16))
    return (-2 * step, -step, 0, step, 2 * step)
