"""A full disk, a folder that vanishes, a SLURM that is absent or silent: a sentence for each,
and nothing that was finished is lost."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes.fake_slurm import FakeSlurm
from specimens.run_folders import begin, finish, specification, text_scores
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.store.records import Worker
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.submission import estimate, submissions
from pebench.submission.logs import follow, tail
from pebench.submission.remove import plan, remove
from pebench.submission.status import statuses
from pebench.submission.submit import submit


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A file system with room for 4 MB."""
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system, and not in every container")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leaves so many bytes, in a file that takes the rest."""
    filler = disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - leave))
    return filler


def test_a_submit_to_a_full_disk_says_so_and_can_be_repeated(
    place: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(place, tiny(place))
    filler = fill(small_disk, 0)
    command = ["submit", str(path), "--runs", str(small_disk / "runs"), "--cluster", "local"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "No space left on device" in told
    filler.unlink()
    assert main([*command, "--dry-run"]) == 0
    assert "2 of 2 cells to start" in capsys.readouterr().out


def test_a_disk_that_fills_up_during_training_loses_nothing_that_was_finished(
    place: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = small_disk / "runs"
    path = write(place, tiny(place))
    assert main(["submit", str(path), "--runs", str(runs)]) == 0
    finished = {path: path.read_bytes() for path in runs.glob("*/result.json")}
    larger = write(place, tiny(place, encodings=["none", "rope", "learned"], train={"steps": 60, "batch": 2}))
    fill(small_disk, 24_000)
    capsys.readouterr()
    assert main(["submit", str(larger), "--runs", str(runs)]) in (1, 2)
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "Traceback" not in told
    (small_disk / "filler").unlink()
    assert {path: path.read_bytes() for path in finished} == finished
    assert main(["submit", str(larger), "--runs", str(runs)]) == 0, capsys.readouterr().err
    assert not list(runs.glob("**/*.tmp"))


def test_a_run_whose_folder_vanishes_ends_in_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pebench.running import checkpoint

    path = write(place, tiny(place, encodings=["rope"], train={"steps": 50, "batch": 2}))
    before = checkpoint.save

    def save(*arguments: Any) -> None:
        before(*arguments)
        shutil.rmtree(place / "runs", ignore_errors=True)

    monkeypatch.setattr(checkpoint, "save", save)
    written = tiny(place, encodings=["rope"], train={"steps": 50, "batch": 2})
    written["execution"]["checkpoint_every"] = 0
    path = write(place, written)
    assert main(["submit", str(path)]) == 1
    told = capsys.readouterr().err
    assert "has vanished" in told
    assert "Traceback" not in told
    monkeypatch.setattr(checkpoint, "save", before)
    assert main(["status", "tiny"]) == 2
    assert "no sweep was submitted into" in capsys.readouterr().err
    assert main(["submit", str(path)]) == 0, "the next submit makes the folder again"


@pytest.fixture
def in_slurm(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Two cells that were submitted to a SLURM, which may be told to fall silent."""
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:/usr/bin:/bin")
    write(place, tiny(place))
    sweep, runs = load(place), place / "runs"
    (started,) = submit(sweep, runs, "inline").submissions
    submissions.end(runs, started)
    begun = submissions.begin(runs, "slurm", "tiny", sweep.record().runs)
    submissions.write(runs, begun.model_copy(update={"job": "77"}))
    return fake


UNREACHABLE = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


def test_while_slurmctld_is_dead_nothing_is_started_twice_and_everything_says_why(
    place: Path, in_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("squeue", "scontrol", "sbatch", "scancel"):
        in_slurm.says(command, "", 1, UNREACHABLE)
    before = sorted(place.glob("runs/.submitit/*"))
    assert main(["submit", "tiny.yaml", "--cluster", "slurm"]) == 2
    assert capsys.readouterr().err == (
        f"pebench: 'scontrol' does not answer: {UNREACHABLE}: "
        "use '--cluster local' or '--cluster inline' here.\n"
    )
    assert main(["submit", "tiny.yaml", "--cluster", "local"]) == 0
    assert "0 of 2 cells to start, 0 finished before, 2 under way" in capsys.readouterr().out
    assert main(["status", "tiny"]) == 0
    assert capsys.readouterr().out.count(f"{UNREACHABLE}, so it is taken for queued") == 2
    assert main(["cancel", "tiny"]) == 2
    assert capsys.readouterr().err.startswith("pebench: job 77 cannot be cancelled: ")
    assert sorted(place.glob("runs/.submitit/*")) == before


def test_a_login_node_without_slurm_shows_what_the_files_tell(
    place: Path, in_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(in_slurm.folder))
    for command in ("squeue", "scontrol", "sbatch", "srun"):
        in_slurm.lacks(command)
    assert main(["status", "tiny"]) == 0
    assert "there is no SLURM on this machine ('squeue' is not in the PATH)" in capsys.readouterr().out
    assert main(["submit", "tiny.yaml", "--cluster", "slurm", "--dry-run"]) == 2
    assert "use '--cluster local' or '--cluster inline' here" in capsys.readouterr().err


def test_an_answer_of_sbatch_that_was_lost_leaves_no_job_behind(
    place: Path, in_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    in_slurm.says("squeue", "")
    in_slurm.says("sbatch", "", 1, "sbatch: error: Socket timed out on send/recv operation")
    in_slurm.says("scancel", "")
    assert main(["submit", "tiny.yaml", "--cluster", "slurm"]) == 2
    assert "SLURM refuses the jobs: Socket timed out on send/recv operation" in capsys.readouterr().err
    (call,) = in_slurm.calls("scancel")
    assert call.startswith("--name=pebench-tiny-")
    assert len(list(place.glob("runs/.submitit/*/submission.json"))) == 2, "those of before"


def test_what_is_submitted_from_inside_a_job_does_not_inherit_its_sizes(
    place: Path, in_slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = in_slurm.folder / "sbatch"
    in_slurm.says("squeue", "")
    script.write_text(
        f"#!/bin/sh\nenv > '{place}/environment'\necho Submitted batch job 78\n", encoding="utf-8"
    )
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    assert main(["submit", "tiny.yaml", "--cluster", "slurm"]) == 0
    told = (place / "environment").read_text().splitlines()
    assert [line for line in told if line.startswith("SLURM_")] == ["SLURM_CONF=/etc/slurm.conf"]


def test_a_submit_that_is_killed_in_its_midst_can_be_repeated(place: Path) -> None:
    path = write(place, tiny(place, seeds=10))
    code = (
        "import os, signal, sys; from pebench.store.run_folder import RunFolder\n"
        "from pebench.command_line.main import main\n"
        "before, made = RunFolder.create, []\n"
        "def create(*arguments):\n"
        "    made.append(1)\n"
        "    if len(made) == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    before(*arguments)\n"
        "RunFolder.create = create\n"
        "main(['submit', sys.argv[1], '--cluster', 'inline'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert done.returncode == -9
    assert len(submit(load(place, seeds=10), place / "runs", "inline").started) == 20


def test_a_failure_that_cannot_be_written_down_is_told_as_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pebench.running.run import execute

    sweep = load(place, encodings=["rope"])
    run_id = submit(sweep, place / "runs", "inline").started[0]

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_failure", full)
    monkeypatch.setattr(RunFolder, "append", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(RunFolder(place / "runs" / run_id), sweep.execution)
    assert read_sweeps(place / "runs")
    (cell,) = statuses(place / "runs", [run_id])
    assert (cell.state, cell.detail) == ("failed", "at step 0, and why could not be written down")


def test_whoever_sees_that_a_worker_failed_finds_the_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pebench.running.run import execute

    sweep = load(place, encodings=["rope"])
    run_id = submit(sweep, place / "runs", "inline").started[0]
    written = RunFolder.write_worker
    seen: list[tuple[str, str]] = []

    def look(folder: RunFolder, worker: Worker) -> None:
        written(folder, worker)
        seen.extend((cell.state, cell.detail) for cell in statuses(place / "runs", [run_id]) if worker.failed)

    monkeypatch.setattr(RunFolder, "write_worker", look)
    monkeypatch.setattr(RunFolder, "append", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute(RunFolder(place / "runs" / run_id), sweep.execution)
    assert seen == [("failed", "ZeroDivisionError: division by zero")]


def test_a_run_that_vanishes_between_two_looks_at_it_stops_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, gone = specification("rope"), tmp_path / "gone-0123456789"
    finish(begin(tmp_path, spec), text_scores(2.0, 3.0))
    found = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, what: [*found(self, what), gone / what.rpartition("/")[2]])
    assert list(estimate.seconds(tmp_path, [spec])) == [spec.run_id]
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    log = RunFolder(tmp_path / spec.run_id).log
    log.write_text("one\ntwo\n")
    assert [line.text for line in tail({gone / "log.txt": "gone", log: "rope"}, 1)] == ["two"]
    lines = follow({gone / "log.txt": "gone", log: "rope"}, 1)
    assert next(lines).text == "two"


def test_a_run_that_somebody_else_has_removed_stops_no_removal(tmp_path: Path) -> None:
    specs = [specification("rope"), specification("alibi")]
    for spec in specs:
        finish(begin(tmp_path, spec), text_scores(2.0, 3.0))
    removal = plan(tmp_path, [spec.run_id for spec in specs])
    shutil.rmtree(tmp_path / specs[0].run_id)
    remove(tmp_path, removal)
    assert not list(tmp_path.glob("*/spec.json"))
