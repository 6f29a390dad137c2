"""Processes side by side share the cores that they have."""

from __future__ import annotations

import os

import pytest

from pebench.data.images.batches import workers
from pebench.machine.cores import cores
from pebench.running.core_shares import sharing
from pebench.running.execution import Execution
from pebench.submission.resources import Resources
from pebench.submission.submissions import draft


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setenv("PEBENCH_WORKERS", "1")


@pytest.mark.parametrize(("processes", "threads"), [(1, None), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_threads_on_a_cpu_are_the_cores_by_the_processes(processes: int, threads: int | None) -> None:
    assert sharing(Execution(device="cpu"), processes).threads == threads


def test_threads_that_were_asked_for_stay() -> None:
    assert sharing(Execution(device="cpu", threads=3), 4).threads == 3


def test_a_process_beside_a_gpu_keeps_the_default_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert sharing(Execution(), 2).threads is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"SLURM_CPUS_ON_NODE": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "2"}, 3),
        ({"SLURM_CPUS_ON_NODE": "64"}, 4),
        ({"SLURM_CPUS_ON_NODE": "2(x3)"}, 4),
    ],
)
def test_a_job_has_the_cores_that_slurm_gives_it(
    given: dict[str, str], found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert cores() == found
    monkeypatch.delenv("PEBENCH_WORKERS", raising=False)
    assert workers() == found - 1, "the run itself has one"


def test_the_compilers_of_processes_side_by_side_share_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS")
    sharing(Execution(device="cpu"), 2)
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "2"


@pytest.mark.parametrize(("processes", "each"), [(1, 3), (2, 1), (4, 1), (9, 1)])
def test_processes_side_by_side_share_the_cores_that_make_batches_of_pictures(
    processes: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEBENCH_WORKERS")
    sharing(Execution(device="cpu"), processes)
    assert workers() == each


def test_no_run_has_more_processes_for_pictures_than_it_had_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)), raising=False)
    monkeypatch.delenv("PEBENCH_WORKERS")
    assert workers() == 16
    sharing(Execution(device="cpu"), 2)
    assert workers() == 16


@pytest.mark.parametrize(("parallel", "workers"), [(None, 1), (2, 2), (9, 3)])
def test_a_submission_has_no_more_workers_than_cells(parallel: int | None, workers: int) -> None:
    assert draft("local", "many", ["a", "b", "c"], Resources(max_parallel=parallel)).workers == workers
