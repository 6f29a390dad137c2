"""The pictures of a sweep, the same bytes for the same runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots import curves, grid, heat_map, trade_off
from pebench.leaderboard.plots.style import inline_svg, plain, rendered

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

TITLES = {
    "score-by-extent": "Score against extent",
    "heat-map": "Encodings by extents",
    "cost-against-quality": "Cost against quality",
    "grid": "Scores over a grid",
}
"""Names of the pictures, as of their files, and what they are called."""


def pictures(board: Board) -> dict[str, bytes]:
    """The content of every picture's files, by file name."""
    found: dict[str, bytes] = {}
    for name, draw in _drawings().items():
        with plain():
            figure = draw(board)
            if figure is not None:
                found |= {f"{name}.{kind}": rendered(figure, kind) for kind in ("png", "svg")}
    return found


def inline_pictures(board: Board) -> dict[str, str]:
    """Every picture, by its name, as SVG for inside a page, whose text colour and font it takes."""
    found = {}
    for name, draw in _drawings().items():
        with inline_svg(name) as text_of:
            figure = draw(board)
            if figure is not None:
                found[name] = text_of(figure)
    return found


def _drawings() -> dict[str, Callable[[Board], Figure | None]]:
    return {
        "score-by-extent": curves.draw,
        "heat-map": heat_map.draw,
        "cost-against-quality": trade_off.draw,
        "grid": grid.draw,
    }
