"""The results of a sweep for Python: the frames of its CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pebench.leaderboard.board import Board
from pebench.leaderboard.files import frames
from pebench.leaderboard.headline import headline
from pebench.leaderboard.write import write_leaderboard

if TYPE_CHECKING:
    import pandas


class Results:
    """The results of a sweep.

    Attributes:
        scores: one row a run, metric, extent and extrapolation.
        leaderboard: one row an encoding, metric, extent and extrapolation, with mean, interval and the
            difference to the baseline.
        costs: throughput and memory of training and of every evaluation.
        runs: one row a run, with the specification, code, machine and data behind it.
        warnings: sentences about what makes the numbers incomparable or incomplete.
    """

    scores: pandas.DataFrame
    leaderboard: pandas.DataFrame
    costs: pandas.DataFrame
    runs: pandas.DataFrame

    def __init__(self, board: Board) -> None:
        """
        Args:
            board: what was computed.
        """
        self._board = board
        found = frames(board)
        self.scores, self.leaderboard = found["scores.csv"], found["leaderboard.csv"]
        self.costs, self.runs = found["costs.csv"], found["runs.csv"]
        self.warnings = board.collection.warnings

    def __repr__(self) -> str:
        """The name of the sweep and what came out."""
        sentences = [f"{table.title}: {headline(self._board, table)}" for table in self._board.tables]
        name, count = self._board.collection.sweep.name, len(self._board.collection.runs)
        return "\n".join([f"Results of {name!r}, {count} runs", *sentences])

    def write(self, output: str | Path) -> Path:
        """Writes all files that ``pebench leaderboard`` writes, into a folder of the sweep's name there.

        Returns:
            That folder.
        """
        return write_leaderboard(self._board, Path(output))
