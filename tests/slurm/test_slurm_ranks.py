"""Runs of several ranks on a real SLURM: spread over nodes, interrupted, broken, and ended with a reason."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from slow_runs import hasten, is_under_way, slow
from specimens.tiny_sweeps import load, tiny, write
from test_slurm import cells, scores, states

from pebench.command_line.main import main
from pebench.running.execution import Execution
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder
from pebench.submission.cells import run_all
from pebench.submission.progress import Lines
from pebench.submission.resources import Resources
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep

pytestmark = pytest.mark.slurm

TWO = Resources(time=15, cpus=1, nodes=2, ranks=2)


def undisturbed(sweep: Sweep, runs: Path, ranks: int) -> Result:
    """The result of the first cell, from so many processes of this machine."""
    started = submit(sweep, runs, "inline").started
    run_all(runs, started, Execution(device="cpu", threads=1, ranks=ranks), Lines())
    return result(sweep, runs)


def result(sweep: Sweep, runs: Path) -> Result:
    found = RunFolder(runs / sweep.record().runs[0]).result()
    assert found is not None
    return found


def begun(sweep: Sweep, runs: Path, resources: Resources) -> RunFolder:
    """Submits, and waits until the first cell is being trained."""
    submit(sweep, runs, "slurm", resources)
    folder = RunFolder(runs / sweep.record().runs[0])
    until(lambda: is_under_way(folder))
    return folder


def interrupt(sweep: Sweep, runs: Path) -> None:
    (cell,) = cells(sweep, runs)
    assert cell.job is not None
    subprocess.run(["scancel", "--signal=USR2", cell.job], check=True)


def task(folder: RunFolder, rank: int) -> psutil.Process:
    """The process of a rank."""

    def is_it(process: psutil.Process) -> bool:
        try:
            program, *arguments = process.cmdline() or [""]
            here = any(argument.startswith(str(folder.path.parent)) for argument in arguments)
            is_python = "python" in Path(program).name
            return here and is_python and process.environ().get("SLURM_PROCID") == str(rank)
        except psutil.Error:
            return False

    (found,) = (process for process in psutil.process_iter() if is_it(process))
    return found


def test_two_nodes_with_two_tasks_each_end_like_one_process(slurm: LocalSlurm, place: Path) -> None:
    changes: dict[str, Any] = {
        "encodings": ["rope", {"seqpe": {"positions": 64}}],
        "train": {"steps": 4, "batch": 4},
    }
    path, runs = write(place, tiny(place, **changes)), place / "runs"
    sweep = load(place, **changes)
    assert (
        main(["submit", str(path), "--cluster", "slurm", "--nodes", "2", "--ranks", "4", "--cpus", "1"]) == 0
    )
    until(lambda: states(sweep, runs) == ["done", "done"])
    alone = place / "alone"
    run_all(alone, submit(sweep, alone, "inline").started, Execution(device="cpu", threads=1), Lines())
    for run_id, found in scores(runs).items():
        for one, other in zip(scores(alone)[run_id], found, strict=True):
            assert {**one, "value": 0} == {**other, "value": 0}
            assert one["value"] == pytest.approx(other["value"], rel=1e-4)
    folder = RunFolder(runs / sweep.record().runs[0])
    assert result(sweep, runs).cost.ranks == 4
    assert folder.provenance()["ranks"]["count"] == 4
    assert folder.log.read_text().count("from step 0") == 1


def test_ranks_that_are_told_to_stop_are_requeued_together_and_lose_nothing(
    slurm: LocalSlurm, place: Path
) -> None:
    sweep, runs = slow(place), place / "runs"
    folder = begun(sweep, runs, TWO)
    interrupt(sweep, runs)
    until(lambda: "requeued" in states(sweep, runs))
    (cell,) = cells(sweep, runs)
    assert cell.step is not None
    hasten(place)
    until(lambda: states(sweep, runs) == ["done"])
    assert f"from step {cell.step}" in folder.log.read_text()
    assert result(sweep, runs).scores == undisturbed(sweep, place / "undisturbed", 2).scores


def test_the_reason_of_the_rank_that_failed_is_the_one_on_record(slurm: LocalSlurm, place: Path) -> None:
    (place / "fails.py").write_text(
        '"""An encoding that fails on one rank."""\n'
        "import os\n\nfrom pebench.position_encoding import PositionEncoding\n\n\n"
        "class Fails(PositionEncoding):\n"
        "    def table(self, x):\n"
        "        if os.environ.get('SLURM_PROCID') == '1':\n"
        "            raise ArithmeticError('one rank has had enough')\n"
        "        return x.positions\n"
    )
    sweep, runs = load(place, encodings=["fails"], plugins=["fails.py"]), place / "runs"
    submit(sweep, runs, "slurm", TWO)
    until(lambda: states(sweep, runs) == ["failed"])
    (cell,) = cells(sweep, runs)
    assert cell.detail.startswith("rank 1 on ")
    assert cell.detail.endswith("ArithmeticError: one rank has had enough")
    until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_its_job_and_the_next_submit_completes_the_run(
    slurm: LocalSlurm, place: Path, rank: int
) -> None:
    execution = {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1}
    sweep, runs = slow(place, execution=execution), place / "runs"
    folder = begun(sweep, runs, TWO)
    task(folder, rank).kill()
    hasten(place)
    until(lambda: states(sweep, runs)[0] in ("failed", "lost"))
    until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout)
    assert submit(sweep, runs, "slurm", TWO).started == [folder.run_id]
    until(lambda: states(sweep, runs) == ["done"])
    assert result(sweep, runs).scores == undisturbed(sweep, place / "undisturbed", 2).scores


@pytest.mark.parametrize("resources", [Resources(time=15, cpus=1), TWO], ids=["one rank", "two ranks"])
def test_a_job_that_is_interrupted_too_often_has_failed_and_says_so(
    slurm: LocalSlurm, place: Path, resources: Resources
) -> None:
    sweep, runs = slow(place), place / "runs"
    folder = begun(sweep, runs, resources.model_copy(update={"max_requeues": 1}))
    interrupt(sweep, runs)
    until(lambda: "requeued" in states(sweep, runs))
    until(lambda: folder.log.read_text().count("from step") == 2 and states(sweep, runs) == ["running"])
    until(moved_on(folder))
    interrupt(sweep, runs)
    until(lambda: states(sweep, runs) == ["failed"])
    hasten(place)
    (cell,) = cells(sweep, runs)
    assert cell.detail == (
        f"its job was interrupted 2 times, now at step {cell.step}, and --max-requeues lets it be "
        "queued again once; the next submit goes on from there."
    )
    assert submit(sweep, runs, "slurm", resources).started == [folder.run_id]
    until(lambda: states(sweep, runs) == ["done"])
    assert result(sweep, runs).scores == undisturbed(sweep, place / "whole", resources.ranks or 1).scores


def moved_on(folder: RunFolder) -> Callable[[], bool]:
    """Whether training has gone further than it is now."""
    now = sum(1 for _ in folder.points())
    return lambda: sum(1 for _ in folder.points()) > now
