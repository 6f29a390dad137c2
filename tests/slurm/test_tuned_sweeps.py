"""A sweep that tunes goes through a real SLURM in one submit: trials, the choice, and what is reported."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.store.run_folder import RunFolder
from pebench.store.tuned_choices import is_slot, read_chosen, with_choices
from pebench.submission import submissions
from pebench.submission.status import BUSY, statuses
from pebench.sweeping.sweep import load_sweep

pytestmark = pytest.mark.slurm

RATES = [1e-3, 1e-2, 1e-1]


def running(name: str) -> list[str]:
    told = subprocess.run(
        ["squeue", "--noheader", "--array", f"--name={name}", "--states=RUNNING", "--format=%i"],
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout.split()


def idle(runs: Path, cells: list[str]) -> bool:
    return not any(cell.state in BUSY for cell in statuses(runs, cells))


def test_one_submit_tries_chooses_and_reports_though_jobs_are_killed(
    slurm: LocalSlurm, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encodings = ["none", "rope", "alibi", "t5"]
    changes: dict[str, Any] = {
        "encodings": encodings,
        "seeds": 3,
        "tune": {"settings": {"train.learning_rate": RATES}},
    }
    path, runs = write(place, tiny(place, **changes)), place / "runs"
    sweep = load_sweep(path)
    command = ["submit", str(path), "--cluster", "slurm", "--time", "15", "--mem", "500M", "--cpus", "1"]
    command += ["--max-parallel", "6"]
    assert main(command) == 0
    assert "24 of 24 cells to start" in capsys.readouterr().out
    trials = next(s for s in submissions._all(runs) if set(s.cells) == set(sweep.trials))
    until(lambda: any(runs.glob("*/result.json")))
    slots = [slot for choice in sweep.choices for slot in choice.slots]
    assert {cell.state for cell in statuses(runs, slots)} == {"waiting"}
    lost: list[str] = []
    while not lost:
        until(lambda: bool(running(trials.name)))
        killed = running(trials.name)
        subprocess.run(["scancel", "--signal=KILL", "--full", *killed], check=False)
        ended = [trials.cells[int(number.partition("_")[2])] for number in killed]
        until(partial(idle, runs, ended))
        # What is killed between its result and its end has nothing to lose.
        lost = [cell.run for cell in statuses(runs, ended) if cell.state != "done"]
    hanging = [slot for choice in sweep.choices if {*choice.trials} & {*lost} for slot in choice.slots]
    # Where no trial was left the turn of the choices may have come: cells of those that lost one begin anew.
    all_ended = not any(cell.state in BUSY for cell in statuses(runs, sweep.trials))
    expected = {len(lost), len(lost) + len(hanging) * all_ended}
    assert main(command) == 0
    told = capsys.readouterr().out
    assert any(f"tiny: {count} of 24 cells to start" in told for count in expected), "what waits still waits"

    found = with_choices(runs, sweep.record().runs)
    until(lambda: not any(cell.state in BUSY for cell in statuses(runs, with_choices(runs, found))), 300)
    found = with_choices(runs, found)
    assert [cell.state for cell in statuses(runs, found)] == ["done"] * 24
    assert not any(map(is_slot, found))
    for choice in sweep.choices:
        chosen = read_chosen(runs, choice.key)
        assert chosen is not None
        assert chosen.candidate == min(range(3), key=lambda n: chosen.scores[n][0] or 0.0)
        specs = [RunFolder(runs / run_id).spec() for run_id in chosen.cells.values()]
        assert [spec.seed for spec in specs] == [0, 1, 2]
        assert {spec.train.learning_rate for spec in specs} == {RATES[chosen.candidate]}
    assert main(command) == 0
    assert "0 of 24 cells to start, 24 finished before" in capsys.readouterr().out
    keys = {choice.key for choice in sweep.choices}
    # Choices that lost a trial after their turn had come are those of a second job.
    logs = (
        log.read_text()
        for submission in submissions._all(runs)
        if keys.issuperset(submission.cells)
        for log in submissions.printed(runs, submission, None)
        if log.suffix == ".out"
    )
    chose = [line for text in logs for line in text.splitlines() if "the best of 3 candidates" in line]
    assert sorted(line.partition(":")[0] for line in chose) == sorted(encodings)
