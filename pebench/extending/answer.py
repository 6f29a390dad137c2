"""From the plan to the page: the sweep, its runs, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pebench import atomic
from pebench.errors import UserError, errors_of_files
from pebench.extending.evidence import read
from pebench.extending.page import NAME, extension_page
from pebench.extending.plan import Plan
from pebench.extending.recommendation import Recommendation, recommend
from pebench.leaderboard.board import make_board
from pebench.leaderboard.sources import collect_sweep
from pebench.leaderboard.write import write_leaderboard
from pebench.plugins.registry import tasks
from pebench.pretrained.hf_model import HfModel
from pebench.randomness import generator
from pebench.store.run_folder import RunFolder
from pebench.sweeping import yaml_file
from pebench.sweeping.sweep import Sweep, load_sweep

DRAWS = 8
"""Texts of the retrieval that are tried for size: their words differ in tokens."""


def ask(plan: Plan, output: Path, runs: Path) -> Sweep:
    """The sweep of a plan, and its file among the results.

    Raises:
        UserError: something in it does not go together, or the file cannot be written.
    """
    if any("retrieval" in task for task in plan.sweep["tasks"]):
        _refuse_short(plan.model, plan.extents[0])
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


def _refuse_short(model: HfModel, extent: int) -> None:
    """
    Raises:
        UserError: what is to be retrieved does not fit into the shortest extent, which nobody wants to learn
            when perplexity has been measured.
    """
    kind = tasks.load("retrieval")
    task: Any = kind(kind.Options(extent=extent), kind.Model())
    task.set_tokenizer(model.tokenizer)
    try:
        for number in range(DRAWS):
            task.draw(extent, 50.0, generator(0, "extend", number))
    except UserError as error:
        told = str(error).rstrip(".")
        raise UserError(f"nothing can be retrieved: {told}; leave that out with '--examples 0'.") from error
