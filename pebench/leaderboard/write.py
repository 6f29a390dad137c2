"""The files of a sweep's results. Written twice from the same runs they are the same to the last byte."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pebench import atomic
from pebench.leaderboard import files, plots
from pebench.leaderboard.board import Board
from pebench.leaderboard.latex import latex
from pebench.leaderboard.markdown import claims_markdown, markdown
from pebench.leaderboard.report import report


def write_leaderboard(
    board: Board, output: Path, *, with_latex: bool = False, made_of: Collection[str] = ()
) -> Path:
    """Writes the tables, the plots and the page of a sweep into a folder of its name.

    Files of this name that an earlier call wrote and this one does not are removed, so that what stands side
    by side was made from the same runs; no other file is touched.

    Args:
        board: what to write.
        output: the folder of results.
        with_latex: whether to write the tables for a paper too.
        made_of: names of files in the folder that the board was made of, which stay as they are.

    Returns:
        The folder of the sweep's results.
    """
    folder = output / board.collection.sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: files.csv_text(frame) for name, frame in files.frames(board).items()}
    texts["leaderboard.md"] = markdown(board)
    texts["report.html"] = report(board)
    if board.answers:
        texts["claims.md"] = claims_markdown(board.collection.sweep.name, board.answers)
    if with_latex:
        texts["leaderboard.tex"] = latex(board)
    pictures = plots.pictures(board)
    for name in texts.keys() - set(made_of):
        atomic.write_text(folder / name, texts[name])
    for name, content in pictures.items():
        atomic.write_bytes(folder / name, content)
    for name in _OCCASIONAL - {*texts, *pictures}:
        (folder / name).unlink(missing_ok=True)
    return folder


_OCCASIONAL = {
    *("claims.csv", "claims.md", "overall.csv", "published.csv", "curves.csv", "tuning.csv"),
    "leaderboard.tex",
    *(f"{name}.{kind}" for name in ("grid", "score-by-update", "tuning") for kind in ("png", "svg")),
}
"""Files that not every sweep or call has."""
