"""What was started can be stopped, started again and looked at, by whoever finds it, wherever it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes.fake_slurm import FakeSlurm
from processes.waiting import until
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.store.run_folder import RunFolder
from pebench.submission import submissions
from pebench.submission.resources import Resources
from pebench.submission.status import CellStatus, statuses
from pebench.submission.submit import submit

SLOW: dict[str, Any] = {
    "train": {"steps": 3000, "batch": 2},
    "execution": {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1},
}


def cells(place: Path) -> list[CellStatus]:
    return statuses(place / "runs", load(place).record().runs)


@pytest.mark.parametrize("cluster", ["local", "inline"])
def test_a_sweep_on_this_machine_is_cancelled_at_a_checkpoint(
    place: Path, capsys: pytest.CaptureFixture[str], cluster: str
) -> None:
    path = write(place, tiny(place, **SLOW))
    command = [sys.executable, "-m", "pebench", "submit", str(path), "--cluster", cluster]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: bool(list(place.glob("runs/*/checkpoint/step-*"))))
        assert main(["cancel", "tiny"]) == 0
        assert "2 of 2 cells are being stopped" in capsys.readouterr().out
        runs = [RunFolder(folder.parent) for folder in place.glob("runs/*/spec.json")]
        ids = [run.run_id for run in runs]
        until(lambda: {cell.state for cell in statuses(place / "runs", ids)} == {"cancelled"})
        process.wait(60)
    (begun,) = [run for run in runs if run.log.exists()]
    assert "checkpoint saved" in begun.log.read_text()
    assert main(["cancel", "tiny"]) == 0
    assert "0 of 2 cells are being stopped" in capsys.readouterr().out
    assert main(["submit", str(path), "--dry-run"]) == 0
    assert "2 of 2 cells to start" in capsys.readouterr().out


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    slurm = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{slurm.folder}:/usr/bin:/bin")
    return slurm


def in_slurm(place: Path, fake: FakeSlurm, state: str, **changes: Any) -> submissions.Submission:
    """A sweep of two cells whose array SLURM knows."""
    sweep, runs = load(place), place / "runs"
    (started,) = submit(sweep, runs, "inline").submissions
    submissions.end(runs, started)
    begun = submissions.begin(runs, "slurm", "tiny", sweep.record().runs)
    begun = begun.model_copy(update={"job": "77", **changes})
    submissions.write(runs, begun)
    fake.says("squeue", "\n".join(f"{begun.name}|{n}|77_{n}|{state}|1700000000" for n in range(2)))
    return begun


def test_jobs_are_cancelled_by_their_name(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_slurm(place, fake, "PENDING")
    fake.says("scancel", "")
    assert main(["cancel", "tiny"]) == 0
    assert fake.calls("scancel") == [f"--name={begun.name}"]
    fake.says("squeue", "")
    assert [cell.state for cell in cells(place)] == ["cancelled", "cancelled"]


def test_jobs_of_another_person_stay_as_they_are(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_slurm(place, fake, "RUNNING", user="anna")
    fake.says("scancel", "", 1, "scancel: error: Kill job error on job id 77: Access/permission denied")
    assert main(["cancel", "tiny"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("pebench: job 77, which anna submitted, cannot be cancelled: ")
    assert "denied" in told
    record = submissions.read(begun.folder(place / "runs") / "submission.json")
    assert record.cancelled is None


def test_cells_that_run_for_another_sweep_go_on(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    in_slurm(place, fake, "RUNNING", sweep="other")
    assert main(["cancel", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "0 of 2 cells are being stopped" in told
    assert "goes on: it runs for sweep 'other'." in told


def test_retry_starts_the_failed_cells_alone_where_they_were_and_as_they_were(
    place: Path, fake: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Any, ...]] = []

    def start(*arguments: Any, **choice: Any) -> int:
        asked.append((*arguments[2:], choice))
        return 0

    resources = Resources.model_validate({"partition": "gpu", "gpus": 1, "mem": "16G"})
    in_slurm(place, fake, "FAILED", resources=resources)
    (place / "tiny.yaml").unlink()
    monkeypatch.setattr("pebench.commands.submit.start", start)
    assert main(["retry", "tiny", "--failed"]) == 0
    assert main(["retry", "tiny", "--lost", "--mem", "32G", "--from-scratch"]) == 0
    assert main(["retry", "tiny", "--cluster", "local"]) == 0
    failed = {"states": frozenset({"failed"}), "from_scratch": False, "only": None}
    assert asked[0] == ("slurm", resources, failed)
    assert asked[1] == (
        "slurm",
        resources.model_copy(update={"mem": 32.0}),
        {"states": frozenset({"lost"}), "from_scratch": True, "only": None},
    )
    assert asked[2] == ("local", Resources(), failed)


def test_a_retry_from_scratch_forgets_a_checkpoint_that_cannot_be_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(place, tiny(place))
    broken, other = (RunFolder(place / "runs" / run) for run in load(place).record().runs)
    (broken.checkpoint / "step-00000002").mkdir(parents=True)
    (other.metrics).mkdir(parents=True)
    assert main(["submit", str(path)]) == 1
    capsys.readouterr()
    assert [cell.state for cell in cells(place)] == ["failed", "failed"]
    assert main(["retry", "tiny"]) == 1, "it meets the same checkpoint again"
    other.metrics.rmdir()
    assert main(["retry", "tiny", "--failed", "--from-scratch"]) == 0
    assert [cell.state for cell in cells(place)] == ["done", "done"]


def test_logs_are_those_of_a_run_or_of_a_sweep_or_of_a_job(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_slurm(place, fake, "FAILED")
    first, second = (RunFolder(place / "runs" / run) for run in begun.cells)
    assert main(["logs", first.run_id]) == 0
    assert "has no log yet; 'pebench logs" in capsys.readouterr().err
    first.log.write_text("".join(f"line {number}\n" for number in range(100)))
    second.log.write_text("another\n")
    (begun.folder(place / "runs") / "77_0_0_log.err").write_text("no module\n")
    assert main(["logs", first.run_id[:8], "-n", "2"]) == 0
    assert capsys.readouterr().out == "line 98\nline 99\n"
    assert main(["logs", "tiny"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{first.run_id} | line 97"
    assert told[-1] == f"{second.run_id} | another"
    assert main(["logs", first.run_id, "--job"]) == 0
    assert capsys.readouterr().out == "no module\n"
    assert main(["logs", "rope-z"]) == 2
    assert "unknown sweep or run 'rope-z'" in capsys.readouterr().err


def test_logs_are_followed_as_they_grow(place: Path) -> None:
    run = submit(load(place), place / "runs", "inline").started[0]
    folder = RunFolder(place / "runs" / run)
    folder.log.write_text("old\n")
    command = [sys.executable, "-u", "-m", "pebench", "logs", run, "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "old\n"
        with folder.log.open("a") as log:
            log.write("half")
            log.flush()
            time.sleep(0.7)
            log.write(" and half\n")
        assert process.stdout.readline() == "half and half\n"
        process.terminate()


def test_a_summary_names_each_reason_once(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_slurm(place, fake, "OUT_OF_MEMORY")
    assert main(["status", "tiny", "--summary"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("2 lost: its job 77_0 ran out of memory (--mem asks for more)")
    assert begun.cells[0] in told[0]
    assert told[1:] == ["2 cells: 2 lost"]


def test_watching_ends_when_nothing_is_under_way(
    place: Path, fake: FakeSlurm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = in_slurm(place, fake, "PENDING")
    looks: list[float] = []

    def wait(seconds: float) -> None:
        # All modules share one `sleep`, and threads of other tests may be in it.
        if seconds != 5:
            return
        looks.append(seconds)
        state = "PENDING" if len(looks) == 1 else "CANCELLED"
        fake.says("squeue", "\n".join(f"{begun.name}|{n}|77_{n}|{state}|1700000000" for n in range(2)))

    monkeypatch.setattr("pebench.commands.status.time.sleep", wait)
    assert main(["status", "tiny", "--watch"]) == 0
    assert capsys.readouterr().out.splitlines() == ["2 cells: 2 queued", "2 cells: 2 cancelled"]
    assert len(looks) == 2
    assert main(["status", "tiny", "--watch", "--json"]) == 2


def test_a_terminal_shows_what_matters_most_of_a_sweep_that_does_not_fit() -> None:
    from rich.console import Console

    from pebench.commands.status import _cut

    many = [CellStatus(run=f"rope-{n}", state="done") for n in range(50)]
    many += [
        CellStatus(run="rope-x", state="running", step=3, steps=9),
        CellStatus(run="rope-y", state="lost"),
    ]
    console = Console(width=100, height=12)
    with console.capture() as shown:
        console.print(_cut(many, console.width, console.height))
    lines = shown.get().splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["rope-x", "rope-y"]
    assert lines[-1].strip() == "and 44 more"
    assert len(lines) <= 12


TWO = """
import json, sys, time
from pathlib import Path
from pebench.submission.submit import submit
from pebench.sweeping.sweep import load_sweep
sweep = load_sweep(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(len(submit(sweep, Path("runs"), "inline").started)), flush=True)
sys.stdin.readline()
"""


def test_of_two_people_who_submit_at_the_same_moment_one_starts_the_cells(place: Path) -> None:
    path = write(place, tiny(place, seeds=20))
    command = [sys.executable, "-c", TWO, str(path)]
    pipe = subprocess.PIPE
    people = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        for person in people:
            assert person.stdout is not None
            assert person.stdout.readline() == "ready\n"
        for person in people:
            assert person.stdin is not None
            person.stdin.write("\n")
            person.stdin.flush()
        started = [json.loads(person.stdout.readline()) for person in people if person.stdout]
    finally:
        for person in people:
            person.kill()
            person.communicate()
    assert sorted(started) == [0, 40]
    assert len(list(place.glob("runs/.submitit/*/submission.json"))) == 1


def test_the_lock_of_a_folder_is_for_all_who_may_write_into_it(
    place: Path,
) -> None:
    before = os.umask(0o002)
    try:
        submit(load(place), place / "runs", "inline")
    finally:
        os.umask(before)
    assert (place / "runs" / ".submitit" / "lock").stat().st_mode & 0o777 == 0o664
