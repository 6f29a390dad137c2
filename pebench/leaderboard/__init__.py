"""Tables, plots and pages of a sweep, from what its runs say and nothing else."""

from pebench.leaderboard.board import make_board
from pebench.leaderboard.sources import from_runs
from pebench.leaderboard.write import write_leaderboard

__all__ = ["from_runs", "make_board", "write_leaderboard"]
