"""The pictures of a sweep, the same bytes for the same runs."""

from __future__ import annotations

from types import ModuleType

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots import curves, grid, heat_map, sensitivity, trade_off, updates
from pebench.leaderboard.plots.style import plain, rendered

PICTURES: dict[str, ModuleType] = {
    "score-by-extent": curves,
    "heat-map": heat_map,
    "cost-against-quality": trade_off,
    "score-by-update": updates,
    "grid": grid,
    "tuning": sensitivity,
}
"""The module that draws each picture, by the name of its files."""


def pictures(board: Board) -> dict[str, bytes]:
    """The content of every picture's files, by file name."""
    found: dict[str, bytes] = {}
    for name, picture in PICTURES.items():
        with plain():
            figure = picture.draw(board)
            if figure is not None:
                found |= {f"{name}.{kind}": rendered(figure, kind) for kind in ("png", "svg")}
    return found
