"""What an encoding does to a logit, by distance: a curve for a head in 1-D, a map for a head in 2-D.

All encodings are looked at alike. Query and key have the same content, channels drawn from N(0, 1) and
projected by the identity; the logit is what attention would compute from them, averaged over draws of the
content. An encoding that does nothing so gives √d everywhere, and what a picture shows beside that is the
encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pebench.position_encoding import (
    Bias,
    Block,
    Dense,
    Factored,
    Geometry,
    PositionEncoding,
    Reach,
    grid,
    tabulate,
)
from pebench.randomness import generator
from pebench.registry import encodings
from pebench.resolve import build_encoding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWS = 256
"""Contents that a logit is averaged over."""

FORMATS = (".png", ".svg", ".pdf")
"""What a picture's file may be."""

BEYOND = 4
"""Times the trained extent that a curve goes on for; a map goes twice as far as trained."""


class Portrait(NamedTuple):
    """Logits of one query.

    Attributes:
        logits: (H, K) by key, in the order of distance or of the cells of the grid; −inf for keys that are
            hidden.
        extent: of the picture. trained: the trained extent.
        query: position of the query. title: of the picture.
    """

    logits: Tensor
    extent: tuple[int, ...]
    trained: tuple[int, ...]
    query: tuple[int, ...]
    title: str


def portrait(name: str, options: Mapping[str, Any], axes: int, method: str | None = None) -> Portrait:
    """The logits of the last query over all keys before it, or in 2-D of one in the middle over all cells.

    Args:
        name: of the encoding. options: of it. axes: 1 or 2.
        method: way past the trained extent; by default the encoding's own.
    """
    trained = (64,) if axes == 1 else (8, 8)
    geometry = Geometry(128, 4, 1, trained, causal=axes == 1)
    encoding = build_encoding(name, options, geometry).eval()
    extent = (trained[0] * BEYOND,) if axes == 1 else tuple(2 * size for size in trained)
    method = method or encoding.extrapolations[0]
    query = (extent[0] - 1,) if axes == 1 else tuple(size // 2 for size in extent)
    logits = _logits(encoding, extent, query, method)
    title = name if method == encoding.extrapolations[0] else f"{name}, {method}"
    return Portrait(logits.flip(-1) if axes == 1 else logits, extent, trained, query, title)


@torch.no_grad()
def _logits(
    encoding: PositionEncoding, extent: tuple[int, ...], query: tuple[int, ...], method: str
) -> Tensor:
    geometry, positions = encoding.geometry, grid(extent)
    count = positions.shape[1]
    row = int((positions[0] == torch.tensor(query)).all(-1).nonzero())
    table = tabulate(encoding, positions, Reach(extent, method))
    added = encoding.embed(table)
    total = torch.zeros(geometry.heads, count)
    for draw in range(DRAWS):
        content = torch.randn(1, 1, geometry.width, generator=generator(0, "portrait", draw))
        hidden = content.expand(1, count, -1)
        if added is not None:
            # Beside contents of deviation 1 a vector of deviation 0.02 would not be seen.
            hidden = hidden + added / added.std()
        heads = hidden.unflatten(-1, (geometry.heads, geometry.head_dim)).transpose(1, 2)
        q, k = encoding.rotate(heads, heads, table, 0)
        bias = encoding.bias(q, k, hidden, table, table, 0, {})
        logits = (q[:, :, row : row + 1] * k).sum(-1) * geometry.head_dim**-0.5
        total += (logits + _row(bias, row, count))[0]
    return total / DRAWS


def _row(bias: Bias | None, row: int, count: int) -> Tensor:
    """(1, H|1, K) bias of one query."""
    match bias:
        case None:
            return torch.zeros(1, 1, count)
        case Dense():
            visible = torch.ones(1, 1, 1, count, dtype=torch.bool)
            return bias.values(Block(slice(row, row + 1), slice(0, count), visible))[:, :, 0].float()
        case Factored(key=key, query=None):
            values = key.sum(-1)
            return (values - values[..., row : row + 1]).float()
        case Factored(key=key, query=query):
            assert query is not None
            return (query[:, :, row : row + 1] * key).sum(-1).float()


def draw(portraits: list[Portrait]) -> Figure:
    """One panel a portrait: curves by distance with the trained extent marked, or maps with the trained size
    framed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(portraits), 3.6), layout="constrained", dpi=110)
    for number, picture in enumerate(portraits):
        place = figure.add_subplot(1, len(portraits), number + 1)
        if len(picture.extent) == 1:
            _draw_curves(place, picture)
        else:
            _draw_map(place, picture)
    return figure


def picture_of(name: str, options: Mapping[str, Any], path: Path) -> None:
    """Writes the picture of an encoding: its curve, its map, or both, and a curve for each further
    extrapolation."""
    from pebench import atomic

    encoding = encodings.load(name)
    axes = [number for number in (1, 2) if number in encoding.axes]
    portraits = [portrait(name, options, number) for number in axes]
    if 1 in axes:
        portraits += [portrait(name, options, 1, method) for method in encoding.extrapolations[1:]]
    figure = draw(portraits)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png", metadata={"Software": None})


def gallery(folder: Path) -> Path:
    """Writes a picture of every encoding into a folder, and a page that shows them.

    Returns:
        The page, `gallery.md` beside the folder.
    """
    from pebench import atomic

    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# What each encoding does to a logit",
        "",
        "Query and key have the same random content; what moves the logit away from a straight line, or",
        "from one colour, is the encoding as it is initialised. In 1-D the curve runs from the query back",
        "over four times the trained extent. In 2-D the query is the red cross, and the dotted frame is the",
        "trained size.",
        "",
        "`pebench gallery` draws this page.",
    ]
    for name in encodings.origins():
        picture_of(name, {}, folder / f"{name}.png")
        summary = encodings.literals(name).get("summary", "")
        lines += ["", f"## {name}", "", summary, "", f"![{name}]({folder.name}/{name}.png)"]
    page = folder.parent / "gallery.md"
    atomic.write_text(page, "\n".join(lines) + "\n")
    return page


def _draw_curves(place: Any, picture: Portrait) -> None:
    for head, logits in enumerate(picture.logits):
        place.plot(logits.numpy(), linewidth=1.2, color=f"C{head}", label=f"head {head + 1}")
    place.axvline(picture.trained[0], color="0.5", linestyle=":", linewidth=1)
    place.annotate(
        "trained extent",
        (picture.trained[0], 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color="0.4",
    )
    place.set(title=picture.title, xlabel="distance from query to key", ylabel="logit")
    place.legend(fontsize=7, frameon=False, loc="lower right")


def _draw_map(place: Any, picture: Portrait) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = picture.extent
    maps = picture.logits.unflatten(-1, picture.extent)
    # Heads side by side in one image, a blank column between them.
    blank = torch.full((rows, 1), float("nan"))
    parts = [part for single in maps for part in (single.masked_fill(single.isinf(), float("nan")), blank)][
        :-1
    ]
    image = place.imshow(torch.cat(parts, 1).numpy(), cmap="viridis", interpolation="nearest")
    for head in range(len(maps)):
        left = head * (columns + 1)
        size = picture.trained[1], picture.trained[0]
        place.add_patch(Rectangle((left - 0.5, -0.5), *size, fill=False, edgecolor="white", linestyle=":"))
        place.plot(left + picture.query[1], picture.query[0], "r+", markersize=6)
    place.set(title=f"{picture.title}, 2-D, a map for each head", xticks=[], yticks=[])
    place.figure.colorbar(image, ax=place, shrink=0.6, label="logit")
