"""Submitting to a real SLURM: jobs are queued once, stopped, gone on with, and end as if nothing had been."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from slow_runs import STEPS, hasten, is_under_way, slow
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.running.execution import Execution
from pebench.store.run_folder import RunFolder
from pebench.submission import scheduler
from pebench.submission.cells import run_all
from pebench.submission.progress import Lines
from pebench.submission.resources import Resources
from pebench.submission.status import CellStatus, statuses
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep

pytestmark = pytest.mark.slurm

SMALL = Resources(time=15, cpus=1)


def states(sweep: Sweep, runs: Path) -> list[str]:
    return [cell.state for cell in cells(sweep, runs)]


def cells(sweep: Sweep, runs: Path) -> list[CellStatus]:
    return statuses(runs, sweep.record().runs)


def scores(runs: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text())["scores"] for path in runs.glob("*/result.json")}


def undisturbed(sweep: Sweep, runs: Path) -> dict[str, Any]:
    """The scores of the same sweep, run here, without more checkpoints than usual."""
    usual = Execution(device="cpu", threads=1)
    run_all(runs, submit(sweep, runs, "inline").started, usual, Lines())
    return scores(runs)


def test_a_sweep_is_queued_once_and_ends_as_it_does_inline(
    slurm: LocalSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, runs = write(place, tiny(place)), place / "runs"
    sweep = load(place)
    command = [
        "submit",
        str(path),
        "--cluster",
        "slurm",
        "--time",
        "15",
        "--mem",
        "500M",
        "--max-parallel",
        "2",
    ]
    assert main(command) == 0
    assert "2 of 2 cells to start" in capsys.readouterr().out
    assert set(states(sweep, runs)) <= {"queued", "running", "done"}
    assert main(command) == 0
    assert "0 of 2 cells to start" in capsys.readouterr().out
    until(lambda: states(sweep, runs) == ["done", "done"])
    assert main(command) == 0
    assert "0 of 2 cells to start, 2 finished before, 0 under way" in capsys.readouterr().out
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")


def test_a_job_that_is_told_to_stop_is_requeued_and_loses_nothing(slurm: LocalSlurm, place: Path) -> None:
    sweep, runs = slow(place), place / "runs"
    submit(sweep, runs, "slurm", SMALL)
    folder = RunFolder(runs / sweep.record().runs[0])
    until(lambda: is_under_way(folder))
    (cell,) = cells(sweep, runs)
    assert cell.job is not None
    subprocess.run(["scancel", "--signal=USR2", cell.job], check=True)
    until(lambda: "requeued" in states(sweep, runs))
    (cell,) = cells(sweep, runs)
    assert cell.step is not None
    assert 5 < cell.step < STEPS
    hasten(place)
    assert submit(sweep, runs, "slurm", SMALL).started == []
    until(lambda: states(sweep, runs) == ["done"])
    assert f"from step {cell.step}" in folder.log.read_text()
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")


def test_what_is_cancelled_keeps_its_checkpoint_and_is_started_by_the_next_submit(
    slurm: LocalSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, runs = slow(place), place / "runs"
    submit(sweep, runs, "slurm", SMALL)
    folder = RunFolder(runs / sweep.record().runs[0])
    until(lambda: is_under_way(folder))
    began = time.monotonic()
    assert main(["cancel", "tiny"]) == 0
    assert "1 of 1 cells are being stopped" in capsys.readouterr().out
    until(lambda: states(sweep, runs) == ["cancelled"])
    assert time.monotonic() - began < 30, "it does not wait to be killed"
    assert list(folder.checkpoint.glob("step-*"))
    hasten(place)
    assert submit(sweep, runs, "slurm", SMALL).started == [folder.run_id]
    until(lambda: states(sweep, runs) == ["done"])
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")


def test_a_job_that_fails_names_its_log(slurm: LocalSlurm, place: Path) -> None:
    sweep, runs = load(place, encodings=["rope"]), place / "runs"
    (place / "text.txt").unlink()
    submit(sweep, runs, "slurm", SMALL)
    # That it failed is on record a moment before the reason is, in case the reason cannot be written.
    until(lambda: states(sweep, runs) == ["failed"] and any(runs.glob("*/failure.json")))
    (cell,) = cells(sweep, runs)
    assert "text.txt" in cell.detail
    assert cell.log is not None
    assert "Traceback" in Path(cell.log).read_text()


def test_jobs_that_slurm_refuses_leave_nothing_behind(
    slurm: LocalSlurm, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(place, tiny(place))
    assert main(["submit", str(path), "--cluster", "slurm", "--partition", "nowhere"]) == 2
    assert (
        capfd.readouterr().err == "pebench: SLURM refuses the jobs: invalid partition specified: nowhere.\n"
    )
    assert [file.name for file in (place / "runs" / ".submitit").iterdir()] == ["lock"]
    assert states(load(place), place / "runs") == ["missing", "missing"]


def test_a_sweep_larger_than_an_array_becomes_several(
    slurm: LocalSlurm, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scheduler.largest_array() == 1001
    monkeypatch.setattr(scheduler, "largest_array", lambda: 2)
    sweep, runs = load(place, encodings=["rope"], seeds=5), place / "runs"
    begun = submit(sweep, runs, "slurm", SMALL).submissions
    assert [len(submission.cells) for submission in begun] == [2, 2, 1]
    assert len({submission.job for submission in begun}) == 3
    assert set(states(sweep, runs)) <= {"queued", "running"}


@pytest.mark.parametrize("pack", [1, 2])
def test_one_cell_is_cancelled_and_the_others_of_its_job_go_on(
    slurm: LocalSlurm, place: Path, capsys: pytest.CaptureFixture[str], pack: int
) -> None:
    runs, resources = place / "runs", Resources(time=15, cpus=1, pack=pack, max_parallel=1)
    sweep = slow(place, seeds=2)
    submit(sweep, runs, "slurm", resources)
    first, second = (RunFolder(runs / run_id) for run_id in sweep.record().runs)
    until(lambda: is_under_way(first))
    running, other = cells(sweep, runs)
    assert running.node
    if pack == 1:
        assert other.state == "queued"
        assert other.reason, "SLURM says why it waits"
    assert main(["cancel", first.run_id]) == 0
    assert "is being stopped" in capsys.readouterr().out
    until(lambda: cells(sweep, runs)[0].state == "cancelled")
    hasten(place)
    until(lambda: states(sweep, runs) == ["cancelled", "done"])
    assert first.checkpoint.is_dir()
    assert main(["retry", first.run_id]) == 0
    until(lambda: states(sweep, runs) == ["done", "done"])
    assert second.result() is not None
