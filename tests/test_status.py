"""The state of a cell follows from its files, its process and SLURM, whatever mixture of these is there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from submitit.core.utils import JobPaths, cloudpickle_dump

from pebench.command_line.main import main
from pebench.notation.brevity import briefly
from pebench.specification.run_spec import PluginConfig, RunSpec, Training
from pebench.store.records import Cost, Result, Worker
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, write_sweep
from pebench.submission import submissions
from pebench.submission.resources import Resources
from pebench.submission.status import CellStatus, statuses, summary
from pebench.submission.submissions import Submission

Answer = Callable[..., None]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """A `squeue` that answers what it is told to: lines of name, index, number and state, or a failure."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def answer(*lines: str, status: int = 0) -> None:
        """Lines without a time are of jobs whose beginning SLURM does not tell."""
        said = "\n".join(line if line.count("|") == 4 else f"{line}|N/A" for line in lines)
        script = folder / "squeue"
        script.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{said}\nEND\nexit {status}\n")
        script.chmod(0o755)

    return answer


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that exists and nothing more."""
    return make(tmp_path)


def make(runs: Path, seed: int = 0) -> RunFolder:
    spec = RunSpec(
        encoding=PluginConfig(name="rope", label="rope"),
        task=PluginConfig(name="language-modeling", label="language-modeling"),
        model={},
        train=Training(steps=100),
        seed=seed,
    )
    folder = RunFolder(runs / spec.run_id)
    folder.create(spec, {})
    return folder


def work(folder: RunFolder, pid: int = 0, **changes: Any) -> None:
    """Writes the sign of life of a worker: by default of this process, now, at step 40 of 100."""
    worker = Worker(
        token="t",
        host=socket.gethostname(),
        pid=pid or os.getpid(),
        job=None,
        beat=time.time(),
        step=40,
        steps=100,
        rate=2.0,
    )
    folder.write_worker(worker.model_copy(update=changes))


def finish(folder: RunFolder, status: Any = "done") -> None:
    cost = Cost(
        parameters=1,
        encoding_parameters=0,
        item="tokens",
        items_per_second=None,
        peak_memory_bytes=None,
        kernels=(),
        evaluations=(),
    )
    at = 7 if status == "diverged" else None
    folder.write_result(Result(status=status, diverged_at=at, metrics={}, scores=(), cost=cost))


def submitted(folder: RunFolder, cluster: Any, **changes: Any) -> Submission:
    """Records that a run was submitted."""
    runs = folder.path.parent
    begun = submissions.begin(runs, cluster, "s", [folder.run_id]).model_copy(update=changes)
    submissions.write(runs, begun)
    return begun


def status(folder: RunFolder) -> CellStatus:
    (cell,) = statuses(folder.path.parent, [folder.run_id])
    return cell


def test_a_run_without_a_folder_is_missing(tmp_path: Path) -> None:
    (cell,) = statuses(tmp_path, ["rope-0123456789"])
    assert (cell.state, cell.encoding) == ("missing", None)


def test_a_run_that_nobody_has_touched_is_missing(folder: RunFolder) -> None:
    cell = status(folder)
    assert (cell.state, cell.encoding, cell.seed) == ("missing", "rope", 0)


def test_a_result_is_done_whatever_else_is_there(folder: RunFolder) -> None:
    work(folder)
    folder.write_failure("an older attempt")
    finish(folder)
    assert status(folder).state == "done"


def test_a_run_that_diverged_says_where(folder: RunFolder) -> None:
    finish(folder, "diverged")
    assert (status(folder).state, status(folder).detail) == ("diverged", "diverged at step 7")


def test_a_live_worker_is_running_with_its_rate_and_time_left(folder: RunFolder) -> None:
    work(folder)
    cell = status(folder)
    assert (cell.state, cell.step, cell.steps, cell.rate, cell.seconds_left) == (
        "running",
        40,
        100,
        2.0,
        30.0,
    )


def test_a_dead_worker_is_lost(folder: RunFolder, dead: int) -> None:
    work(folder, dead)
    cell = status(folder)
    assert cell.state == "lost"
    assert f"process {dead}" in cell.detail


def test_a_process_that_took_over_the_number_of_a_worker_is_not_taken_for_it(folder: RunFolder) -> None:
    work(folder, beat=time.time() - 365 * 86400)
    assert status(folder).state == "lost"


@pytest.mark.parametrize(("age", "state"), [(10, "running"), (1000, "lost")])
def test_a_worker_elsewhere_is_believed_for_a_while(folder: RunFolder, age: float, state: str) -> None:
    work(folder, 1, host="elsewhere", beat=time.time() - age)
    assert status(folder).state == state


def test_a_failure_names_its_reason_and_its_log(folder: RunFolder, dead: int) -> None:
    work(folder, dead)
    folder.log.write_text("Traceback")
    folder.write_failure("the data is gone")
    cell = status(folder)
    assert (cell.state, cell.detail, cell.log) == ("failed", "the data is gone", str(folder.log))


CUDA = (
    "AcceleratorError: CUDA error: an illegal memory access was encountered\n"
    "Search for `cudaErrorIllegalAddress' in the documentation of CUDA for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
    "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
OF_CUDA = "AcceleratorError: CUDA error: an illegal memory access was encountered"


def test_of_a_reason_of_many_lines_the_first_is_told(
    folder: RunFolder, dead: int, capsys: pytest.CaptureFixture[str]
) -> None:
    work(folder, dead)
    folder.write_failure(CUDA)
    assert status(folder).detail == OF_CUDA
    for arguments in ([], ["--summary"]):
        write_sweep(folder.path.parent, SweepRecord(name="one", source="name: one", runs=(folder.run_id,)))
        assert main(["status", "one", "--runs", str(folder.path.parent), *arguments]) == 0
        told = capsys.readouterr().out
        assert OF_CUDA in told
        assert "CUDA_LAUNCH_BLOCKING" not in told
    failure = folder.failure()
    assert failure is not None
    assert failure.message == CUDA, "and the record has all"


@pytest.mark.parametrize(
    ("message", "brief"),
    [
        ("the data is gone", "the data is gone"),
        ("", ""),
        (" ".join(CUDA.split()), " ".join(CUDA.split("CUDA kernel")[0].split())),
        (
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
            "139.72 GiB of which 1.19 MiB is free. Including non-PyTorch memory, this process has 1.20 GiB "
            "memory in use. See documentation for Memory Management",
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
            "139.72 GiB of which 1.19 MiB is free.",
        ),
        (
            "RuntimeError: Error(s) in loading state_dict for Decoder:\n\tMissing key: 'a'.\n\tSize of 'b'",
            "RuntimeError: Error(s) in loading state_dict for Decoder: Missing key: 'a'.",
        ),
        (f"its data are gone: {'x' * 300}. Submit again.", f"its data are gone: {'x' * 300}."),
    ],
    ids=["a-word", "nothing", "all-in-one-line", "sentences", "colon", "one-long-sentence"],
)
def test_a_message_is_told_in_its_first_line_or_sentences(message: str, brief: str) -> None:
    assert briefly(message) == brief


def test_a_failed_run_of_a_process_that_works_on_is_failed(folder: RunFolder) -> None:
    work(folder)
    folder.write_failure("it broke")
    assert status(folder).state == "failed"


def test_a_run_that_finishes_while_it_is_looked_at_is_done(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(folder, over=True)
    before = RunFolder.worker

    def meanwhile(own: RunFolder) -> Worker | None:
        finish(folder)
        return before(own)

    monkeypatch.setattr(RunFolder, "worker", meanwhile)
    assert status(folder).state == "done", "and not cancelled"


def test_a_run_that_is_removed_while_it_is_looked_at_is_missing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = RunFolder.spec

    def meanwhile(own: RunFolder) -> RunSpec:
        shutil.rmtree(folder.path)
        return before(own)

    monkeypatch.setattr(RunFolder, "spec", meanwhile)
    assert (status(folder).state, status(folder).detail) == ("missing", "")


def test_a_new_attempt_after_a_failure_is_running(folder: RunFolder) -> None:
    folder.write_failure("it broke")
    folder.clear_failure()
    work(folder)
    assert status(folder).state == "running"


def test_cells_wait_for_the_process_that_will_run_them(folder: RunFolder) -> None:
    submitted(folder, "inline", pids=(os.getpid(),))
    assert status(folder).state == "queued"


def test_cells_of_a_process_that_ended_before_them_are_missing(folder: RunFolder, dead: int) -> None:
    submitted(folder, "inline", pids=(dead,))
    assert status(folder).state == "missing"


@pytest.mark.parametrize(("claimed_by", "state"), [(None, "queued"), (0, "queued"), (1, "lost")])
def test_local_cells_wait_for_the_worker_that_took_them_or_any_other(
    folder: RunFolder, dead: int, claimed_by: int | None, state: str
) -> None:
    begun = submitted(folder, "local", pids=(os.getpid(), dead))
    if claimed_by is not None:
        assert submissions.claim(begun.folder(folder.path.parent), folder.run_id, claimed_by)
    assert status(folder).state == state


def test_a_worker_that_a_busy_machine_started_late_is_no_other_process(folder: RunFolder) -> None:
    begun = submitted(folder, "local", pids=(os.getpid(),))
    born = psutil.Process().create_time()
    late = begun.model_copy(update={"time": born - 60, "started": born + 0.1})
    submissions.write(folder.path.parent, late)
    assert status(folder).state == "queued"
    submissions.write(folder.path.parent, late.model_copy(update={"started": born - 30}))
    assert status(folder).state == "lost"


def left(begun: Submission, runs: Path, pid: int, outcome: str) -> None:
    """What submitit keeps of how the process of a local worker ended."""
    cloudpickle_dump((outcome, "done"), JobPaths(begun.folder(runs), str(pid)).result_pickle)


def test_a_local_cell_that_its_worker_passed_over_is_missing(folder: RunFolder, dead: int) -> None:
    begun = submitted(folder, "local", pids=(dead,))
    left(begun, folder.path.parent, dead, "success")
    assert (status(folder).state, status(folder).detail) == ("missing", "")


def test_a_local_cell_is_lost_with_a_worker_that_an_exception_ended(folder: RunFolder, dead: int) -> None:
    begun = submitted(folder, "local", pids=(dead,))
    left(begun, folder.path.parent, dead, "error")
    log = begun.folder(folder.path.parent) / f"{dead}_0_log.err"
    log.write_text("Traceback (most recent call last):\n  File ...\nOSError: No space left on device\n")
    cell = status(folder)
    told = f"process {dead}, which was to begin it, ended with an error: OSError: No space left on device"
    assert (cell.state, cell.detail, cell.log) == ("lost", told, str(log))


def test_the_last_words_of_a_worker_are_its_exception_and_not_what_stands_below(
    folder: RunFolder, dead: int
) -> None:
    begun = submitted(folder, "local", pids=(dead,))
    left(begun, folder.path.parent, dead, "error")
    log = begun.folder(folder.path.parent) / f"{dead}_0_log.err"
    frame = '  File "/a.py", line 3, in work\n    step()\n    ~~~~^^\n'
    log.write_text(f"a warning\nTraceback (most recent call last):\n{frame}{frame}torch.{CUDA}\n")
    assert status(folder).detail.endswith(f"ended with an error: torch.{OF_CUDA}")


def test_a_local_cell_is_lost_with_a_worker_that_was_killed(folder: RunFolder, dead: int) -> None:
    begun = submitted(folder, "local", pids=(dead,))
    (begun.folder(folder.path.parent) / f"{dead}_0_log.err").write_text("UserWarning: no matter\n")
    cell = status(folder)
    told = f"process {dead}, which was to begin it, ended without a word"
    assert (cell.state, cell.detail, cell.log) == ("lost", told, None)


def test_a_failure_younger_than_its_submission_is_that_of_its_job(folder: RunFolder) -> None:
    folder.write_failure("before")
    time.sleep(0.01)
    submitted(folder, "inline", pids=(os.getpid(),))
    assert status(folder).state == "queued"
    folder.write_failure("now")
    assert status(folder).state == "failed"


@pytest.mark.parametrize(
    ("slurm", "state"),
    [("PENDING", "queued"), ("CONFIGURING", "queued"), ("RUNNING", "queued"), (None, "lost")],
)
def test_before_a_job_has_written_anything_slurm_is_asked(
    folder: RunFolder, squeue: Answer, slurm: str | None, state: str
) -> None:
    begun = submitted(folder, "slurm", job="77")
    squeue(*([f"{begun.name}|0|77_0|{slurm}"] if slurm else []))
    assert status(folder).state == state


def test_a_single_job_has_no_index(folder: RunFolder, squeue: Answer) -> None:
    begun = submitted(folder, "slurm", job="77")
    squeue(f"{begun.name}|N/A|77|PENDING")
    assert (status(folder).state, status(folder).job) == ("queued", "77")


def test_a_job_that_was_never_submitted_leaves_its_cell_missing(folder: RunFolder, squeue: Answer) -> None:
    submitted(folder, "slurm")
    squeue()
    assert status(folder).state == "missing"


def test_a_requeued_job_says_where_it_goes_on(folder: RunFolder, squeue: Answer, dead: int) -> None:
    begun = submitted(folder, "slurm", job="77")
    work(folder, dead, job="77_0")
    squeue(f"{begun.name}|0|77_0|PENDING")
    assert (status(folder).state, status(folder).detail) == ("requeued", "goes on from step 40")


def test_a_failed_cell_that_waits_again_is_queued(folder: RunFolder, squeue: Answer, dead: int) -> None:
    work(folder, dead)
    folder.write_failure("it broke")
    begun = submitted(folder, "slurm", job="78")
    squeue(f"{begun.name}|0|78_0|PENDING")
    assert status(folder).state == "queued"


def test_a_node_that_died_is_lost_within_a_minute_whatever_slurm_still_believes(
    folder: RunFolder, squeue: Answer
) -> None:
    begun = submitted(folder, "slurm", job="77")
    began = int(time.time()) - 1000
    squeue(f"{begun.name}|0|77_0|RUNNING|{began}")
    work(folder, 1, host="elsewhere", job="77_0", beat=time.time() - 30)
    assert status(folder).state == "running"
    work(folder, 1, host="elsewhere", job="77_0", beat=time.time() - 50)
    cell = status(folder)
    assert (cell.state, cell.job) == ("lost", "77_0")
    assert "has been silent for 50 seconds at step 40, though SLURM still counts job 77_0" in cell.detail
    squeue(f"{begun.name}|0|77_0|PENDING")
    assert status(folder).state == "requeued"
    squeue(f"{begun.name}|0|77_0|RUNNING|{int(time.time())}")
    assert status(folder).state == "requeued", "until its new worker speaks up"
    squeue()
    assert status(folder).state == "lost"


def test_a_worker_that_stopped_at_a_checkpoint_is_about_to_be_queued_again(
    folder: RunFolder, squeue: Answer
) -> None:
    begun = submitted(folder, "slurm", job="77")
    work(folder, job="77_0", over=True)
    squeue(f"{begun.name}|0|77_0|RUNNING|{int(time.time()) - 100}")
    assert status(folder).state == "requeued"


@pytest.mark.parametrize(
    ("word", "state", "detail"),
    [
        ("CANCELLED", "cancelled", ""),
        ("OUT_OF_MEMORY", "lost", "its job 77_0 ran out of memory (--mem asks for more)"),
        ("NODE_FAIL", "lost", "its job 77_0 lost its node"),
        ("COMPLETED", "lost", "its job 77_0 ended before the cell did"),
    ],
)
@pytest.mark.parametrize("accounts", [False, True], ids=["queue", "accounts"])
def test_how_a_job_ended_is_told_by_the_queue_or_by_the_accounts(
    folder: RunFolder, squeue: Answer, word: str, state: str, detail: str, accounts: bool
) -> None:
    begun = submitted(folder, "slurm", job="77", cells=(folder.run_id, "rope-1"))
    squeue(*([] if accounts else [f"{begun.name}|0|77_0|{word}|1700000000"]))
    if accounts:
        # As sacct writes it, steps left out by --allocations.
        script = folder.path.parent / "bin" / "sacct"
        script.write_text(f"#!/bin/sh\necho '77_0|{word} by 1000'\n")
        script.chmod(0o755)
    cell = status(folder)
    assert (cell.state, cell.detail) == (state, detail)


def test_of_a_worker_that_was_killed_the_log_of_its_job_is_named(
    folder: RunFolder, squeue: Answer, dead: int
) -> None:
    begun = submitted(folder, "slurm", job="77")
    log = begun.folder(folder.path.parent) / "77_0_log.err"
    log.write_text("srun: error: node1: task 0: Killed\n")
    folder.log.write_text("from step 0\n")
    squeue(f"{begun.name}|N/A|77|FAILED|1700000000")
    work(folder, dead, job="77")
    cell = status(folder)
    assert (cell.state, cell.log) == ("lost", str(log))
    assert cell.detail.endswith("ended without a word at step 40: its job ended with an error")
    log.write_text("")
    assert status(folder).log == str(folder.log)


def test_a_job_that_could_not_even_start_python_is_lost_with_its_last_words(
    folder: RunFolder, squeue: Answer
) -> None:
    begun = submitted(folder, "slurm", job="77")
    log = begun.folder(folder.path.parent) / "77_0_log.err"
    log.write_text("submitit INFO\nModuleNotFoundError: No module named 'torch'\nsrun: error: exited\n")
    squeue(f"{begun.name}|N/A|77|FAILED|1700000000")
    cell = status(folder)
    assert cell.detail == "its job 77 ended with an error: ModuleNotFoundError: No module named 'torch'"
    assert cell.log == str(log)


def test_without_accounts_a_job_that_the_queue_forgot_is_lost(folder: RunFolder, squeue: Answer) -> None:
    submitted(folder, "slurm", job="77")
    squeue()
    script = folder.path.parent / "bin" / "sacct"
    script.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    script.chmod(0o755)
    assert (status(folder).state, status(folder).detail) == ("lost", "its job 77 is gone without a word")


def test_a_submission_that_was_cancelled_leaves_its_cells_cancelled(folder: RunFolder, dead: int) -> None:
    submitted(folder, "inline", pids=(dead,), cancelled=time.time())
    assert status(folder).state == "cancelled"
    work(folder, dead, over=True)
    assert (status(folder).state, status(folder).detail) == ("cancelled", "at step 40")


@pytest.mark.parametrize("cluster", ["inline", "slurm"])
def test_a_cell_that_was_lost_before_its_sweep_was_cancelled_stays_lost(
    folder: RunFolder, squeue: Answer, dead: int, cluster: str
) -> None:
    job = "77" if cluster == "slurm" else None
    submitted(folder, cluster, job=job, pids=(dead,), cancelled=time.time())
    squeue()
    work(folder, dead, job=job, beat=time.time() - 100)
    cell = status(folder)
    assert cell.state == "lost"
    assert "ended without a word at step 40" in cell.detail


def test_a_run_that_was_interrupted_at_a_checkpoint_is_not_lost(folder: RunFolder, dead: int) -> None:
    work(folder, dead, over=True)
    assert (status(folder).state, status(folder).detail) == ("cancelled", "at step 40")


def test_the_cells_of_a_pack_share_the_state_of_its_job(folder: RunFolder, squeue: Answer) -> None:
    others = [make(folder.path.parent, seed) for seed in (1, 2)]
    ids = [folder.run_id, *(other.run_id for other in others)]
    runs = folder.path.parent
    begun = submissions.begin(runs, "slurm", "s", ids, Resources(pack=2))
    submissions.write(runs, begun.model_copy(update={"job": "77"}))
    squeue(f"{begun.name}|0|77_0|RUNNING|1700000000", f"{begun.name}|1|77_1|CANCELLED|1700000000")
    assert [cell.state for cell in statuses(runs, ids)] == ["queued", "queued", "cancelled"]


def test_where_slurm_hides_the_jobs_of_others_theirs_are_taken_for_queued(
    folder: RunFolder, squeue: Answer
) -> None:
    submitted(folder, "slurm", job="77", user="somebody-else")
    squeue()
    script = folder.path.parent / "bin" / "scontrol"
    script.write_text("#!/bin/sh\necho 'PrivateData = jobs,usage'\n")
    script.chmod(0o755)
    cell = status(folder)
    assert (cell.state, cell.job) == ("queued", "77")
    assert "this SLURM does not show the jobs of somebody-else" in cell.detail


@pytest.mark.parametrize("installed", [True, False])
def test_while_slurm_is_silent_its_cells_are_taken_for_queued(
    folder: RunFolder, squeue: Answer, installed: bool
) -> None:
    submitted(folder, "slurm", job="77")
    if installed:
        squeue(status=1)
    cell = status(folder)
    assert cell.state == "queued"
    assert ("does not answer" in cell.detail) == installed


def test_only_the_newest_submission_counts(folder: RunFolder, squeue: Answer) -> None:
    squeue()
    submitted(folder, "slurm", job="77")
    submitted(folder, "inline", pids=(os.getpid(),))
    assert status(folder).state == "queued"


def test_two_workers_of_a_submission_never_have_one_cell(tmp_path: Path) -> None:
    assert submissions.claim(tmp_path, "rope-1", 0)
    assert not submissions.claim(tmp_path, "rope-1", 1)
    assert submissions.claim(tmp_path, "rope-1", 0), "a worker that starts again keeps its own"
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["rope-1"]


def test_a_summary_counts_states(tmp_path: Path) -> None:
    finish(make(tmp_path, 0))
    make(tmp_path, 1)
    finish(make(tmp_path, 2))
    cells = statuses(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    assert summary(cells) == "3 cells: 2 done, 1 missing"


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorded sweep of one finished and one missing cell, in the working folder's `runs`."""
    runs = tmp_path / "runs"
    finish(make(runs, 0))
    ids = (make(runs, 0).run_id, make(tmp_path / "other", 1).run_id)
    write_sweep(runs, SweepRecord(name="two", source="name: two\nencodings: [rope]\ntasks: [x]\n", runs=ids))
    monkeypatch.delenv("PEBENCH_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return runs


@pytest.mark.parametrize("arguments", [["status", "two"], ["status", "two", "two"]])
def test_in_a_pipe_a_line_is_a_cell(
    sweep: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.split("\t")[1:5] == ["rope", "language-modeling", "0", "done"]
    assert second.split("\t")[4] == "missing"
    assert last == "2 cells: 1 done, 1 missing"


def test_json_holds_every_cell(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "two", "--json"]) == 0
    assert [cell["state"] for cell in json.loads(capsys.readouterr().out)] == ["done", "missing"]


def test_the_state_of_nothing_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runs", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "no cells\n"


def test_a_submission_from_before_the_resources_were_renamed_is_read(tmp_path: Path) -> None:
    begun = submissions.begin(tmp_path, "slurm", "s", ["a"], Resources(time=15, max_parallel=3))
    path = begun.folder(tmp_path) / "submission.json"
    written = json.loads(path.read_text())
    resources = written["resources"]
    older = {"minutes": 15, "memory": 0.5, "parallel": resources.pop("max_parallel")}
    for name in ("time", "mem"):
        del resources[name]
    path.write_text(json.dumps({**written, "resources": {**resources, **older}}))
    assert submissions.read(path).resources == begun.resources.model_copy(update={"mem": 0.5})
