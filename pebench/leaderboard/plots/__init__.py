"""The pictures of a sweep, the same bytes for the same runs."""

from __future__ import annotations

from types import ModuleType

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots import curves, grid, heat_map, trade_off, updates
from pebench.leaderboard.plots.style import inline_svg, plain, rendered

PICTURES: dict[str, tuple[str, ModuleType]] = {
    "score-by-extent": ("Score against extent", curves),
    "heat-map": ("Encodings by extents", heat_map),
    "cost-against-quality": ("Cost against quality", trade_off),
    "score-by-update": ("Score against updates", updates),
    "grid": ("Scores over a grid", grid),
}
"""Title of each picture and the module that draws it, by the name of its files."""


def pictures(board: Board) -> dict[str, bytes]:
    """The content of every picture's files, by file name."""
    found: dict[str, bytes] = {}
    for name, (_, picture) in PICTURES.items():
        with plain():
            figure = picture.draw(board)
            if figure is not None:
                found |= {f"{name}.{kind}": rendered(figure, kind) for kind in ("png", "svg")}
    return found


def inline_pictures(board: Board) -> dict[str, str]:
    """Every picture, by its name, as SVG for inside a page, whose text colour and font it takes."""
    found = {}
    for name, (_, picture) in PICTURES.items():
        with inline_svg(name) as text_of:
            figure = picture.draw(board)
            if figure is not None:
                found[name] = text_of(figure)
    return found
