"""From the plan to the page: the sweep, its runs, and what they say."""

from __future__ import annotations

from pathlib import Path

from pebench import atomic
from pebench.errors import errors_of_files
from pebench.extending.evidence import read
from pebench.extending.page import NAME, extension_page
from pebench.extending.plan import Plan
from pebench.extending.recommendation import Recommendation, recommend
from pebench.leaderboard.board import make_board
from pebench.leaderboard.sources import collect_sweep
from pebench.leaderboard.write import write_leaderboard
from pebench.store import RunFolder
from pebench.sweeping import yaml_file
from pebench.sweeping.sweep import Sweep, load_sweep


def ask(plan: Plan, output: Path, runs: Path) -> Sweep:
    """The sweep of a plan, and its file among the results.

    Raises:
        UserError: something in it does not go together, or the file cannot be written.
    """
    path = output / plan.name / f"{plan.name}.yaml"
    with errors_of_files(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, yaml_file.text(plan.sweep))
    return load_sweep(path, runs)


def write_answer(plan: Plan, sweep: Sweep, output: Path, runs: Path) -> tuple[Recommendation, Path]:
    """Writes the tables, the plots and the page of a sweep whose runs are finished.

    Returns:
        The answer, and the page.

    Raises:
        UserError: a file cannot be written.
    """
    folders = {spec.task.name: RunFolder(runs / spec.run_id) for spec in sweep.cells}
    evidence = read(plan, folders["language-modeling"], folders.get("retrieval"))
    answer = recommend(evidence)
    board = make_board(collect_sweep(runs, sweep.record()))
    with errors_of_files(output):
        folder = write_leaderboard(board, output)
        atomic.write_text(folder / NAME, extension_page(board, evidence, answer))
    return answer, folder / NAME
