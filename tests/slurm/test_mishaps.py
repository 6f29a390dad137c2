"""A sweep on four nodes, through a preemption, a dead node and a failure, ends as if nothing had been."""

from __future__ import annotations

import csv
import subprocess
import time
from pathlib import Path

import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from slow_runs import STEPS, hasten, is_under_way, slow, slow_sweep
from specimens.tiny_sweeps import load, tiny, write
from test_slurm import cells, scores, states, undisturbed

from pebench.command_line.main import main
from pebench.running.execution import Execution
from pebench.store.run_folder import RunFolder
from pebench.submission.cells import run_all
from pebench.submission.progress import Lines
from pebench.submission.resources import Resources
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep

ENCODINGS = ["slow", "none"]

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

ALONE = """\
import socket, sys
def refuse(*arguments):
    raise OSError("there is no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
sys.modules["mlflow"] = None
"""
"""What Python begins with where there is neither a network nor a tracking database."""


def node_of(job: str) -> str:
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%N"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def preempt(node: str) -> None:
    """Takes a node away from the jobs of the partition 'low', for a moment."""
    command = ["sbatch", "--partition=main", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    subprocess.run([*command, "--wrap", "sleep 1"], check=True, capture_output=True)


def leaderboard(place: Path, runs: Path, name: str) -> list[dict[str, str]]:
    """The rows of the table, digit by digit."""
    assert main(["leaderboard", "tiny", "--runs", str(runs), "--output", str(place / name)]) == 0
    with (place / name / "tiny" / "leaderboard.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def six(place: Path) -> tuple[Path, Sweep]:
    """A sweep of two encodings and three seeds, of which the first is slow enough to be disturbed."""
    long, *others = ENCODINGS
    changes = slow_sweep(
        place,
        encodings=[{long: {}, "train": {"steps": STEPS}}, *others],
        seeds=3,
        train={"steps": 40, "batch": 2},
        execution={"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1},
    )
    return write(place, tiny(place, **changes)), load(place, **changes)


def test_a_sweep_survives_a_preemption_a_dead_node_and_a_failure(
    slurm: LocalSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, sweep = six(place)
    runs = place / "runs"
    preempted, killed, _, failing, *_ = (RunFolder(runs / run) for run in sweep.record().runs)
    failing.metrics.mkdir(parents=True)
    (place / "alone").mkdir()
    (place / "alone" / "sitecustomize.py").write_text(ALONE)
    command = ["submit", str(path), "--cluster", "slurm", "--partition", "low", "--time", "15", "--cpus", "4"]
    command += ["--setup", f"export PYTHONPATH={place / 'alone'}:$PYTHONPATH"]
    assert main(command) == 0
    assert "6 of 6 cells to start" in capsys.readouterr().out

    until(lambda: is_under_way(preempted) and is_under_way(killed))
    jobs = {cell.run: cell.job for cell in cells(sweep, runs)}
    preempt(node_of(jobs[preempted.run_id] or ""))
    dead = node_of(jobs[killed.run_id] or "")
    slurm.kill_node(dead)
    died = time.monotonic()
    until(lambda: {cell.run: cell.state for cell in cells(sweep, runs)}[killed.run_id] == "lost", 60)
    assert time.monotonic() - died < 60
    until(lambda: "requeued" in {cell.state for cell in cells(sweep, runs)})
    until(lambda: failing.failure() is not None)
    hasten(place)

    failing.metrics.rmdir()
    again = submit(sweep, runs, "slurm")
    assert set(again.started) <= {failing.run_id, killed.run_id}
    assert failing.run_id in again.started
    slurm.start_node(dead)
    until(lambda: states(sweep, runs) == ["done"] * 6, 300)
    assert "checkpoint saved" in preempted.log.read_text()
    for folder in (preempted, killed):
        steps = [
            line.rsplit(" ", 1)[1] for line in folder.log.read_text().splitlines() if ", from step" in line
        ]
        assert len(steps) == 2
        assert int(steps[1]) > 5, "it went on where it was"
    assert main(command) == 0
    assert "0 of 6 cells to start, 6 finished before, 0 under way" in capsys.readouterr().out

    inline = place / "inline"
    usual = Execution(device="cpu", threads=1)
    run_all(inline, submit(sweep, inline, "inline").started, usual, Lines())
    table = leaderboard(place, runs, "cluster")
    assert {row["encoding"]: row["coverage"] for row in table} == dict.fromkeys(ENCODINGS, "3/3")
    assert table == leaderboard(place, inline, "here")


def test_a_job_that_is_preempted_with_nothing_but_a_sigterm_is_queued_again_too(
    slurm: LocalSlurm, place: Path
) -> None:
    sweep, runs = slow(place), place / "runs"
    grace = ["scontrol", "update", "partition=low", "GraceTime=3"]
    with slurm.configured("SlurmctldParameters=preempt_send_user_signal\n", ""):
        subprocess.run(grace, check=True)
        submit(sweep, runs, "slurm", Resources(partition="low", time=15, cpus=4))
        folder = RunFolder(runs / sweep.record().runs[0])
        until(lambda: is_under_way(folder))
        (cell,) = cells(sweep, runs)
        preempt(node_of(cell.job or ""))
        until(lambda: "checkpoint saved" in folder.log.read_text())
        hasten(place)
        until(lambda: states(sweep, runs) == ["done"])
    assert [attempt["job"] for attempt in folder.provenance()["attempts"]] == [cell.job] * 2
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")
