"""Tables and plots of a sweep, from its run folders and nothing else."""

from pebench.leaderboard.terminal import print_leaderboard
from pebench.leaderboard.write import write_leaderboard

__all__ = ["print_leaderboard", "write_leaderboard"]
