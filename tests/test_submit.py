"""Submitting starts what is missing and nothing else, and ends in the same scores whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes.waiting import until
from processes.warm_processes import command
from specimens.tiny_sweeps import load, tiny, write

from pebench import api
from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.running.lost_device import is_lost
from pebench.running.ranks import RankLost
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.submission import submissions
from pebench.submission.cells import Outcome, carry_out, run_all
from pebench.submission.devices import devices_of
from pebench.submission.progress import Bars, Lines
from pebench.submission.resources import Resources
from pebench.submission.status import statuses
from pebench.submission.submit import submit
from pebench.sweeping.sweep import Sweep, load_sweep


def run_inline(sweep: Sweep, runs: Path) -> Outcome:
    """Submits a sweep and carries it out here."""
    (begun,) = submit(sweep, runs, "inline").submissions
    return carry_out(runs, begun, sweep.execution, Lines())


def states(sweep: Sweep, runs: Path) -> list[str]:
    return [cell.state for cell in statuses(runs, sweep.record().runs)]


def scores(runs: Path) -> dict[str, Any]:
    """What the results say of quality, by run; cost is another matter each time."""
    return {
        path.parent.name: json.loads(path.read_text())["scores"]
        for path in sorted(runs.glob("*/result.json"))
    }


def test_every_cell_runs_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, runs = load(place), place / "runs"
    outcome = run_inline(sweep, runs)
    assert list(outcome.finished) == list(sweep.record().runs)
    assert states(sweep, runs) == ["done", "done"]
    assert [record.runs for record in read_sweeps(runs)] == [sweep.record().runs]
    written = {path: path.stat().st_mtime_ns for path in runs.glob("[a-z]*/*")}
    again = submit(sweep, runs, "inline")
    assert (again.started, again.finished) == ([], list(sweep.record().runs))
    assert {path: path.stat().st_mtime_ns for path in runs.glob("[a-z]*/*")} == written


def test_a_larger_sweep_starts_only_what_is_new(place: Path) -> None:
    runs = place / "runs"
    run_inline(load(place), runs)
    larger = submit(load(place, encodings=["none", "alibi", "rope"]), runs, "inline")
    assert [run_id.partition("-")[0] for run_id in larger.started] == ["alibi"]
    assert len(larger.finished) == 2


def test_one_failure_stops_no_other_cell_and_is_started_again(place: Path) -> None:
    sweep, runs = load(place), place / "runs"
    (begun,) = submit(sweep, runs, "inline").submissions
    broken, sound = sweep.record().runs
    # A folder where a file is to be written breaks this run alone.
    (runs / broken / "metrics.jsonl").mkdir()
    outcome = carry_out(runs, begun, sweep.execution, Lines())
    assert (list(outcome.failed), list(outcome.finished)) == ([broken], [sound])
    failure = RunFolder(runs / broken).failure()
    assert failure is not None
    assert outcome.failed[broken] == failure.message
    assert states(sweep, runs) == ["failed", "done"]
    (runs / broken / "metrics.jsonl").rmdir()
    assert submit(sweep, runs, "inline").started == [broken]
    assert list(run_all(runs, [broken], sweep.execution, Lines()).finished) == [broken]


def failing(place: Path, error: str) -> Path:
    """The file of a sweep of three cells, of which the second meets an error."""
    (place / "failing.py").write_text(
        "import torch\nfrom pebench.position_encoding import PositionEncoding\n"
        "class Failing(PositionEncoding):\n"
        "    axes = frozenset({1})\n"
        f"    def embed(self, *arguments):\n        {error}\n"
    )
    return write(place, tiny(place, encodings=["none", "failing", "rope"], plugins=["failing.py"]))


LOST = [
    "raise torch.AcceleratorError('CUDA error: device-side assert triggered\\nand advice')",
    "\n        try:\n            raise torch.AcceleratorError('CUDA error: unspecified launch failure')"
    "\n        except RuntimeError as error:"
    "\n            raise ValueError('a library\\nand advice') from error",
]


@pytest.mark.parametrize("error", LOST, ids=["plain", "wrapped"])
def test_cells_after_one_that_took_the_device_do_not_begin_and_who_waits_is_told(
    place: Path, capsys: pytest.CaptureFixture[str], error: str
) -> None:
    path = failing(place, error)
    other = write(place, tiny(place, name="other", encodings=["alibi"]), "other.yaml")
    sweep = load_sweep(path)
    assert main(["submit", str(path), str(other)]) == 1
    assert states(sweep, place / "runs") == ["done", "failed", "missing"]
    assert states(load_sweep(other), place / "runs") == ["missing"], "nor do those of another sweep"
    lost = sweep.record().runs[1]
    failure = RunFolder(place / "runs" / lost).failure()
    assert failure is not None
    assert failure.message.splitlines()[1:] == ["and advice"], "the record has every line"
    told = capsys.readouterr().err
    assert f"pebench: {lost} left the device unusable to this process" in told
    assert "and advice" not in told
    with pytest.raises(UserError, match="submit again in a new process"):
        api.submit(sweep, runs=place / "runs", progress=False)


def test_memory_that_ran_out_takes_the_device_from_no_other_cell(place: Path) -> None:
    sweep = load_sweep(failing(place, "raise torch.OutOfMemoryError('CUDA out of memory.')"))
    outcome = run_inline(sweep, place / "runs")
    assert outcome.lost_device is None
    assert states(sweep, place / "runs") == ["done", "failed", "done"]


def test_where_cuda_is_in_use_it_is_asked_whether_it_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.synchronize", gone)
    error = RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")
    assert not is_lost(error)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    assert is_lost(error)
    assert not is_lost(RankLost("rank 1 has left")), "a sum with it may never end"
    monkeypatch.setattr("torch.cuda.synchronize", lambda: None)
    assert not is_lost(error)


def test_a_cell_that_is_under_way_is_not_started_twice(place: Path) -> None:
    sweep, runs = load(place), place / "runs"
    assert len(submit(sweep, runs, "inline").started) == 2
    again = submit(sweep, runs, "local")
    assert (again.started, again.busy) == ([], list(sweep.record().runs))


def test_of_submits_at_the_same_time_one_starts_the_cells(place: Path) -> None:
    sweep, runs, started = load(place, seeds=5), place / "runs", []
    threads = [
        threading.Thread(target=lambda: started.append(len(submit(sweep, runs, "inline").started)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [0, 0, 0, 10]


def test_a_run_keeps_the_plugins_that_it_needs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pebench.plugins.registry import encodings

    monkeypatch.setattr(encodings, "_files", {})
    source = (
        "from pebench.position_encoding import PositionEncoding\nclass Mine(PositionEncoding):\n    pass\n"
    )
    (place / "mine.py").write_text(source)
    sweep, runs = load(place, encodings=["mine"], plugins=["mine.py"]), place / "runs"
    submit(sweep, runs, "inline")
    (run_id,) = sweep.record().runs
    (place / "mine.py").unlink()
    assert (runs / run_id / "plugins" / "mine.py").read_text() == source
    # A job is another process, which has never seen the file.
    code = (
        "import sys; from pathlib import Path;"
        "from pebench.running.run import execute; from pebench.store.run_folder import RunFolder;"
        "print(execute(RunFolder(Path(sys.argv[1]))).status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, runs / run_id], capture_output=True, text=True, check=True
    )
    assert done.stdout == "done\n"


def test_a_folder_that_cannot_be_written_is_named(place: Path) -> None:
    (place / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*runs"):
        submit(load(place), place / "runs", "inline")


def test_without_slurm_the_other_clusters_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(UserError, match=r"there is no SLURM .* '--cluster local' or '--cluster inline'"):
        submit(load(place), place / "runs", "slurm")
    assert states(load(place), place / "runs") == ["missing", "missing"]


@contextmanager
def pebench(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command line in a process of its own, ended with the block."""
    command = [sys.executable, "-m", "pebench", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(*arguments: str, told: Path, when: Callable[[], bool], how: signal.Signals) -> int | None:
    """The exit status of a command line that gets a signal at some moment."""
    process = command(*arguments, told=told)
    try:
        until(when)
        assert process.pid is not None
        os.kill(process.pid, how)
        process.join(60)
        return process.exitcode
    finally:
        process.kill()
        process.join()


def long_enough_to_be_stopped(place: Path, encodings: list[str]) -> tuple[Path, Sweep]:
    """The file of a sweep that saves a checkpoint after every step, and the same sweep without that."""
    written = tiny(place, encodings=encodings, train={"steps": 150, "batch": 2})
    slow = {"execution": {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1}}
    return write(place, written | slow, "slow.yaml"), load_sweep(write(place, written))


def steps_done(run: RunFolder) -> int:
    return sum(1 for _ in run.points())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_sweep_that_was_cut_off_ends_with_the_same_scores(place: Path, how: signal.Signals) -> None:
    path, sweep = long_enough_to_be_stopped(place, ["none", "rope"])
    runs, told = place / "runs", place / "told.txt"
    first = RunFolder(runs / sweep.record().runs[0])
    code = stopped("submit", str(path), told=told, when=lambda: steps_done(first) > 20, how=how)
    assert code == (130 if how == signal.SIGINT else -9)
    assert "Traceback" not in told.read_text()
    assert states(sweep, runs) == ["cancelled" if how == signal.SIGINT else "lost", "missing"]
    assert steps_done(first) < 150
    assert len(run_inline(sweep, runs).finished) == 2
    assert len(run_inline(sweep, place / "undisturbed").finished) == 2
    assert scores(runs) == scores(place / "undisturbed")


def test_a_terminal_that_is_closed_is_no_failure_of_the_run(place: Path) -> None:
    path, sweep = long_enough_to_be_stopped(place, ["none"])
    runs = place / "runs"
    first = RunFolder(runs / sweep.record().runs[0])
    with pebench("submit", str(path)) as process:
        until(lambda: steps_done(first) > 2)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert states(sweep, runs) == ["cancelled"]


class Unread(Lines):
    """A display whose pipe is closed during training."""

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        raise BrokenPipeError("nobody reads")


def test_a_pipe_that_nobody_reads_any_more_is_no_failure_of_the_run(place: Path) -> None:
    sweep, runs = load(place), place / "runs"
    started = submit(sweep, runs, "inline").started
    outcome = run_all(runs, started, sweep.execution, Unread())
    assert (outcome.interrupted, outcome.failed, outcome.finished) == (True, {}, {})
    assert len(run_all(runs, started, sweep.execution, Lines()).finished) == 2


def test_local_workers_share_the_cells_and_one_that_is_killed_takes_no_other_with_it(place: Path) -> None:
    path, sweep = long_enough_to_be_stopped(place, ["none", "rope", "alibi"])
    runs = place / "runs"
    done = subprocess.run(
        [sys.executable, "-m", "pebench", "submit", str(path), "--cluster", "local", "--max-parallel", "2"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "3 of 3 cells to start" in done.stdout, "and it does not wait for the workers"
    (begun,) = (submissions.read(path) for path in (runs / ".submitit").glob("*/submission.json"))
    first = RunFolder(runs / sweep.record().runs[0])
    until(lambda: steps_done(first) > 10)
    worker = first.worker()
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not any(begun.is_carried_by(pid) for pid in begun.pids))
    assert states(sweep, runs) == ["lost", "done", "done"]
    assert submit(sweep, runs, "inline").started == [first.run_id]
    run_all(runs, [first.run_id], sweep.execution, Lines())
    run_inline(sweep, place / "undisturbed")
    assert scores(runs) == scores(place / "undisturbed")


def test_a_local_worker_takes_no_package_of_the_folder_that_it_was_submitted_in(place: Path) -> None:
    """There may lie a checkout of another commit."""
    path, runs = write(place, tiny(place, encodings=["none"])), place / "runs"
    (place / "pebench").mkdir()
    (place / "pebench" / "__init__.py").write_text("raise SystemExit('another package')\n")
    arguments = ["submit", str(path), "--cluster", "local"]
    subprocess.run([sys.executable, "-P", "-m", "pebench", *arguments], capture_output=True, check=True)
    (begun,) = (submissions.read(path) for path in (runs / ".submitit").glob("*/submission.json"))
    until(lambda: not any(begun.is_carried_by(pid) for pid in begun.pids))
    assert states(load_sweep(path), runs) == ["done"]


def test_a_run_that_another_process_holds_is_left_to_it(place: Path) -> None:
    from filelock import FileLock

    sweep, runs = load(place), place / "runs"
    submit(sweep, runs, "inline")
    held, free = sweep.record().runs
    with FileLock(runs / held / "lock"):
        outcome = run_all(runs, [held, free], sweep.execution, Lines())
    assert (outcome.skipped, list(outcome.finished), outcome.failed) == ([held], [free], {})


def test_the_command_says_what_it_starts_and_fails_if_a_cell_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(place, tiny(place))
    _, broken = load_sweep(path).record().runs
    assert main(["submit", str(path)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "tiny: 2 of 2 cells to start, 0 finished before, 0 under way.",
        "pebench leaderboard tiny writes what they found.",
    ]
    assert "[2/2] rope, seed 0: done" in told.err
    assert main(["submit", str(path)]) == 0
    assert "0 of 2 cells to start, 2 finished before" in capsys.readouterr().out
    (place / "others" / broken / "metrics.jsonl").mkdir(parents=True)
    assert main(["submit", str(path), "--runs", "others"]) == 1
    told = capsys.readouterr()
    assert f"pebench: {broken} failed: " in told.err
    assert f"others/{broken}/log.txt" in told.err
    assert "Traceback" not in told.err


def test_a_sweep_in_the_foreground_reads_its_data_before_anything_is_on_record(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tiny(place)
    written["tasks"][0]["language-modeling"]["evaluate"] = [100000]
    assert main(["submit", str(write(place, written))]) == 2
    told = capsys.readouterr().err
    assert told.startswith("pebench: the validation split has ")
    assert told.endswith("too few for an extent of 100000.\n")
    assert not (place / "runs").exists()


def files(runs: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        ["submit", "{file}"],
        ["submit", "{file}", "--dry-run"],
        ["submit", "{file}", "--cluster", "local"],
        ["submit", "tiny", "--encoding", "rope"],
        ["retry", "tiny"],
        ["retry", "tiny", "--dry-run"],
    ],
    ids=" ".join,
)
def test_where_nothing_is_left_to_start_nobody_asks_for_data(
    place: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    runs, file = place / "runs", write(place, tiny(place))
    run_inline(load_sweep(file), runs)
    (place / "text.txt").unlink()
    command = [str(file) if word == "{file}" else word for word in command]
    assert main([*command, "--runs", str(runs)]) == 0
    said = capsys.readouterr()
    total = 1 if "--encoding" in command else 2
    assert f"0 of {total} cells to start, {total} finished before" in said.out
    assert "text.txt" not in said.err


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--cluster", "local"]], ids=" ".join)
def test_data_that_a_cell_still_needs_are_asked_for_before_anything_starts(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    runs = place / "runs"
    run_inline(load(place), runs)
    more = write(place, tiny(place, encodings=["none", "rope", "alibi"]))
    (place / "text.txt").unlink()
    written = files(runs)
    assert main(["submit", str(more), "--runs", str(runs), *options]) == 2
    assert "text.txt" in capsys.readouterr().err
    assert files(runs) == written


def test_a_finished_run_is_read_again_without_its_data(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (task,) = tiny(place)["tasks"]
    options = [f"{name}={json.dumps(value)}" for name, value in task["language-modeling"].items()]
    model = ["model.width=16", "model.heads=2", "model.layers=1", "train.steps=2", "train.batch=2"]
    chosen = [word for option in options for word in ("--set", f"task.{option}")]
    chosen += [word for option in model for word in ("--set", option)]
    ran = ["run", "--encoding", "none", "--runs", str(place / "runs"), "--device", "cpu", *chosen]
    assert main(ran) == 0
    first = capsys.readouterr().out
    (place / "text.txt").unlink()
    assert main(ran) == 0
    assert capsys.readouterr().out == first
    assert main([*ran, "--seed", "1"]) == 2
    assert "text.txt" in capsys.readouterr().err


def test_a_setting_that_no_cell_would_have_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = tiny(place)
    own = [{**task, "train": {"steps": 3}} for task in content["tasks"]]
    file = write(place, {**content, "tasks": own})
    assert main(["submit", str(file), "--dry-run", "--set", "train.steps=1"]) == 2
    assert (
        "each task of the file sets 'steps' itself, so that nothing would change" in capsys.readouterr().err
    )
    assert main(["submit", str(file), "--dry-run", "--set", "train.batch=1"]) == 0
    begun = [{**task, "from": content["tasks"][0]} for task in own]
    file = write(place, {**content, "tasks": begun})
    assert main(["submit", str(file), "--dry-run", "--set", "train.steps=1"]) == 0


def test_cells_that_diverged_are_named_and_stop_no_other(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = {"rope": {}, "train": {"learning_rate": 1e30, "clip": 0.0}}
    file = write(place, tiny(place, encodings=["none", hot]))
    assert main(["submit", str(file)]) == 0
    assert "pebench: 1 of 2 cells diverged and have no scores; pebench status tiny names them." in (
        capsys.readouterr().err
    )
    assert states(load_sweep(file), place / "runs") == ["done", "diverged"]


def test_one_run_that_diverged_is_no_success(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"task.data={place / 'text.txt'}", "task.extent=16", "task.evaluate=[16]", "task.tokens=128"]
    settings += ["model.width=16", "train.batch=2", "train.steps=3", "train.learning_rate=1e30"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    assert main(["run", "--encoding", "none", "--device", "cpu", *chosen]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert " and has no scores: its loss is no number." in told.err


def test_bars_take_whatever_a_run_tells() -> None:
    with Bars() as bars:
        bars.begin("rope, seed 0", 1, 2)
        bars.training(10, 100, {"train/loss": 2.5}, 4.0)
        bars.evaluating(0, 3, "256")
        bars.end("done")


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pebench.submission.progress.time.monotonic", lambda: now)
    lines = Lines()
    lines.begin("rope, seed 0", 1, 2)
    for step in range(1, 26):
        now += 1
        lines.training(step, 100, {"train/loss": 2.5}, 1.0)
    lines.end("done")
    told = capsys.readouterr().err.splitlines()
    assert told[1:] == [
        "[1/2] rope, seed 0: step 10 of 100, loss 2.5, 1 steps/s, 2 min left",
        "[1/2] rope, seed 0: step 20 of 100, loss 2.5, 1 steps/s, 80 s left",
        "[1/2] rope, seed 0: done",
    ]


def test_resources_are_checked() -> None:
    with pytest.raises(ValueError, match="max_parallel"):
        Resources(max_parallel=0)


@pytest.mark.parametrize(
    ("chosen", "gpus", "expected"),
    [
        (None, 0, [None, None, None]),
        (None, 2, ["0", "1", "0"]),
        ("3,5", 8, ["3", "5", "3"]),
        ("", 2, ["", "", ""]),
    ],
    ids=["no GPU", "all GPUs", "chosen GPUs", "hidden GPUs"],
)
def test_local_workers_take_the_gpus_in_turn(
    chosen: str | None, gpus: int, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pebench.submission.devices._count", lambda: gpus)
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert devices_of(3) == expected


def test_workers_of_several_ranks_take_as_many_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert devices_of(3, ranks=2) == ["0,1", "2,3", "0,1"]
    assert devices_of(1, ranks=8) == ["0,1,2,3"]
