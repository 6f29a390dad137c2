"""The state of every cell, from its folder and from what was submitted for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pebench.spec import Frozen
from pebench.store import Failure, RunFolder, Worker
from pebench.submission import submissions
from pebench.submission.liveness import is_alive
from pebench.submission.submissions import Job

State = Literal["queued", "running", "done", "failed", "diverged", "lost", "missing"]

BUSY: frozenset[State] = frozenset({"queued", "running"})
FINISHED: frozenset[State] = frozenset({"done", "diverged"})


class CellStatus(Frozen):
    """Where one cell stands.

    Attributes:
        run: its id.
        encoding, task: labels, None where the cell has no folder.
        seed: likewise.
        state: ``queued`` has a job that will start it; ``running`` has a live worker; ``done`` and
            ``diverged`` are finished; ``failed`` ended with an error; ``lost`` had a worker or a job that is
            gone without a word; ``missing`` has never begun. The next submit starts the last three.
        step, steps: where training is, and where it goes.
        rate: steps a second.
        seconds_left: of training, at that rate.
        job: SLURM's number of its job.
        detail: one sentence on what is wrong, empty if nothing is.
        log: the file to read about it, None before there is one.
    """

    run: str
    encoding: str | None = None
    task: str | None = None
    seed: int | None = None
    state: State
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    job: str | None = None
    detail: str = ""
    log: str | None = None


def statuses(runs: Path, run_ids: Iterable[str]) -> list[CellStatus]:
    """Where each of these cells stands, in the order given.

    Raises:
        UserError: a file of a run cannot be read.
    """
    ids = list(run_ids)
    known = {run_id: RunFolder(runs / run_id) for run_id in ids}
    open_cells = [run_id for run_id, folder in known.items() if not (folder.path / "result.json").exists()]
    jobs = submissions.jobs(runs, open_cells)
    return [_status(known[run_id], jobs.get(run_id), runs) for run_id in ids]


def summary(cells: Iterable[CellStatus]) -> str:
    """How many cells there are in each state, as ``14 cells: 12 done, 2 running``."""
    counts = Counter(cell.state for cell in cells)
    order: tuple[State, ...] = ("done", "diverged", "running", "queued", "failed", "lost", "missing")
    parts = ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
    total = counts.total()
    return f"{total} cell{'' if total == 1 else 's'}: {parts}" if parts else "no cells"


def _status(folder: RunFolder, job: Job | None, runs: Path) -> CellStatus:
    if not (folder.path / "spec.json").exists():
        return CellStatus(run=folder.run_id, state="missing")
    spec = folder.spec()
    cell = CellStatus(
        run=folder.run_id,
        encoding=spec.encoding.label or spec.encoding.name,
        task=spec.task.label or spec.task.name,
        seed=spec.seed,
        state="missing",
        log=str(folder.log) if folder.log.exists() else None,
    )
    result = folder.result()
    if result is not None:
        detail = f"diverged at step {result.diverged_at}" if result.status == "diverged" else ""
        return cell.model_copy(update={"state": result.status, "detail": detail})
    return cell.model_copy(update=_unfinished(folder, job, runs))


def _unfinished(folder: RunFolder, job: Job | None, runs: Path) -> dict[str, object]:
    worker, failure = folder.worker(), folder.failure()
    progress = _progress(worker) | ({"job": job.number} if job else {})
    # A worker that has written its failure may live on, with another cell.
    ended = failure is not None and (worker is None or failure.time >= worker.beat)
    working = worker is not None and not ended and not worker.over
    if worker is not None and working and (is_alive(worker) or _holds(job, worker)):
        return {"state": "running", **progress}
    if job is not None and job.state == "unknown":
        return {"state": "queued", **progress, "detail": f"{job.note}, so it is taken for queued"}
    if job is not None and _will_run(job, failure):
        detail = f"goes on from step {worker.step}" if worker is not None and not ended else ""
        return {"state": "queued", **progress, "detail": detail}
    if failure is not None:
        return {"state": "failed", **progress, "detail": failure.message}
    if worker is not None:
        how = "stopped" if worker.over else "ended without a word"
        detail = f"process {worker.pid} on {worker.host} {how} at step {worker.step}"
        return {"state": "lost", **progress, "detail": detail}
    if job is not None and job.submission.job is not None:
        jobs_log = job.submission.folder(runs)
        return {
            "state": "lost",
            "detail": f"its job {job.submission.job} is gone without a word",
            "log": str(jobs_log),
        }
    return {"state": "missing"}


def _holds(job: Job | None, worker: Worker) -> bool:
    """Whether SLURM says that the worker's job runs, which it knows better than a beat that is late."""
    return job is not None and job.state == "active" and job.number is not None and job.number == worker.job


def _will_run(job: Job, failure: Failure | None) -> bool:
    """Whether a job is about to begin the cell; an active one has failed if the failure is younger."""
    if job.state == "active":
        return failure is None or failure.time < job.submission.time
    return job.state == "pending"


def _progress(worker: Worker | None) -> dict[str, object]:
    if worker is None:
        return {}
    left = (worker.steps - worker.step) / worker.rate if worker.rate else None
    return {"step": worker.step, "steps": worker.steps, "rate": worker.rate, "seconds_left": left}
