"""Cells that begin with the weights of others, on a real SLURM: each waits for its start, come what may."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from slow_runs import STEPS, hasten, is_under_way, slow
from specimens.tiny_sweeps import tiny
from test_slurm import SMALL, cells, scores, states, undisturbed

from pebench.store.run_folder import RunFolder
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep

pytestmark = pytest.mark.slurm


def chained(place: Path, start: Any = None, **changes: Any) -> Sweep:
    """A slow run, and another that goes on from it, or from the run that is named."""
    (entry,) = tiny(place)["tasks"]
    first = {**entry, "train": {"steps": STEPS}}
    later = {"language-modeling": {**entry["language-modeling"], "evaluate": [16, 24]}}
    later["from"] = start or first
    return slow(place, tasks=[later], train={"steps": 4, "batch": 2}, **changes)


def dependency(job: str) -> str:
    told = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
    return next(word for word in told.split() if word.startswith("Dependency="))


def test_a_cell_waits_for_its_start_even_through_a_requeue(slurm: LocalSlurm, place: Path) -> None:
    sweep, runs = chained(place), place / "runs"
    begun = submit(sweep, runs, "slurm", SMALL).submissions
    assert [submission.cells for submission in begun] == [(run,) for run in sweep.record().runs]
    first, later = (submission.job for submission in begun)
    assert first is not None
    assert later is not None
    assert f"afterany:{first}" in dependency(later)
    until(lambda: is_under_way(RunFolder(runs / begun[0].cells[0])))
    starting = cells(sweep, runs)[0].job
    assert starting is not None
    subprocess.run(["scancel", "--signal=USR2", starting], check=True)
    until(lambda: states(sweep, runs) == ["requeued", "queued"])
    hasten(place)
    until(lambda: states(sweep, runs) == ["done", "done"])
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")


def test_a_cell_of_another_sweep_waits_for_a_start_that_is_under_way(slurm: LocalSlurm, place: Path) -> None:
    runs = place / "runs"
    first = slow(place)
    (begun,) = submit(first, runs, "slurm", SMALL).submissions
    (run,) = first.record().runs
    later = chained(place, {"run": run}, name="later")
    (waiting,) = submit(later, runs, "slurm", SMALL).submissions
    assert waiting.job is not None
    assert f"afterany:{begun.job}" in dependency(waiting.job)
    hasten(place)
    until(lambda: states(later, runs) == ["done"])


def test_a_start_that_failed_or_was_cancelled_is_told_and_started_again(
    slurm: LocalSlurm, place: Path
) -> None:
    sweep, runs = chained(place), place / "runs"
    begun = submit(sweep, runs, "slurm", SMALL).submissions
    folder = RunFolder(runs / begun[0].cells[0])
    until(lambda: is_under_way(folder))
    assert begun[0].job is not None
    subprocess.run(["scancel", begun[0].job], check=True)
    until(lambda: states(sweep, runs) == ["cancelled", "failed"])
    assert f"run '{folder.run_id}' is not finished" in cells(sweep, runs)[1].detail
    hasten(place)
    assert submit(sweep, runs, "slurm", SMALL).started == list(sweep.record().runs)
    until(lambda: states(sweep, runs) == ["done", "done"])
