"""Several cells in one job of a real SLURM: each has its GPU and its folder, and one signal reaches all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest
from local_slurm import LocalSlurm
from processes.waiting import until
from slow_runs import hasten, is_under_way, slow
from test_slurm import cells, scores, states, undisturbed

from pebench.store.run_folder import RunFolder
from pebench.submission.resources import Resources
from pebench.submission.submit import submit

pytestmark = pytest.mark.slurm


def device_of(folder: RunFolder) -> str:
    worker = folder.worker()
    assert worker is not None
    return psutil.Process(worker.pid).environ()["CUDA_VISIBLE_DEVICES"]


def test_cells_of_one_job_share_its_gpus_and_stop_and_go_on_together(slurm: LocalSlurm, place: Path) -> None:
    sweep = slow(place, seeds=3)
    runs = place / "runs"
    # With so short a limit submitit takes every signal for the end of the time.
    submit(sweep, runs, "slurm", Resources(pack=2, gpus=2, cpus=2, time=5))
    first, second, _ = (RunFolder(runs / run) for run in sweep.record().runs)
    until(lambda: is_under_way(first) and is_under_way(second))
    assert {device_of(first), device_of(second)} == {"0", "1"}
    jobs = [cell.job for cell in cells(sweep, runs)]
    assert jobs[0] == jobs[1]
    subprocess.run(["scancel", "--signal=USR2", str(jobs[0])], check=True)
    until(lambda: states(sweep, runs)[:2] == ["requeued", "requeued"])
    assert submit(sweep, runs, "slurm").started == []
    hasten(place)
    until(lambda: states(sweep, runs) == ["done"] * 3, 200)
    for folder in (first, second):
        assert folder.log.read_text().count("checkpoint saved") == 1
    assert scores(runs) == undisturbed(sweep, place / "undisturbed")
