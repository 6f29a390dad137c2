"""Records of submissions: their cells, and the jobs or processes that carry them out.

runs/.submitit/<submission>/submission.json   the cells, written before anything is started
                            code.json         the code they were submitted with
                            changes.diff      how it differed from its commit, if it did
                            claims/<id>       which of several local workers has taken a cell
                            *.out *.err *.pkl submitit's own files, one name a job
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError, field_validator

from pebench import atomic
from pebench.errors import UserError
from pebench.notation import quantities
from pebench.running import source_code
from pebench.specification.run_spec import Frozen
from pebench.store.tuned_choices import with_choices
from pebench.submission import scheduler
from pebench.submission.liveness import process_exists
from pebench.submission.resources import Resources

Cluster = Literal["inline", "local", "slurm"]

_RENAMED = {"minutes": "time", "memory": "mem", "parallel": "max_parallel"}


class Submission(Frozen):
    """One process, one set of local workers, or one job array.

    Attributes:
        name: of its folder, and of its jobs in SLURM.
        cluster: where its cells run.
        sweep: the sweep they belong to.
        cells: run ids, and slots where settings were still to be chosen; the keys of its choices in a
            submission that makes these.
        pack: cells a job; the position of a cell divided by it is the index of its job in an array.
        time: seconds since the epoch when it was written.
        host: where it was submitted from.
        user: who submitted it, empty where the system knows no name.
        pids: the processes on that host that carry it out; none for SLURM.
        started: when the last of these had been started, in seconds since the epoch: a busy machine takes
            longer than a moment. None where they are no processes of their own.
        job: SLURM's number of the array, None until it is known.
        resources: what each job gets.
        cancelled: when it was cancelled, in seconds since the epoch; None if it was not.
    """

    name: str
    cluster: Cluster
    sweep: str
    cells: tuple[str, ...]
    pack: int = 1
    time: float
    host: str
    user: str = ""
    pids: tuple[int, ...] = ()
    started: float | None = None
    job: str | None = None
    resources: Resources = Resources()
    cancelled: float | None = None

    @field_validator("resources", mode="before")
    @classmethod
    def _older(cls, value: Any) -> Any:
        """Before they were named as by sbatch three resources had other names."""
        if not isinstance(value, dict) or not _RENAMED.keys() & value.keys():
            return value
        renamed = {_RENAMED.get(name, name): setting for name, setting in value.items()}
        memory = renamed.pop("mem", None)
        return renamed | ({"mem": quantities.memory(float(memory))} if memory is not None else {})

    def folder(self, runs: Path) -> Path:
        """Where its files are."""
        return submissions_folder(runs) / self.name

    def is_carried_by(self, pid: int) -> bool:
        """Whether one of its processes still runs; a younger one only has its number."""
        return process_exists(pid, self.time if self.started is None else self.started)

    @property
    def workers(self) -> int:
        """Workers on this machine that carry it out side by side."""
        return min(self.resources.max_parallel or 1, len(self.cells))

    def cells_of_job(self, number: int) -> tuple[str, ...]:
        """The cells of one job of its array."""
        return self.cells[number * self.pack : (number + 1) * self.pack]


class Job(NamedTuple):
    """State of the job of a cell.

    Attributes:
        state: ``pending`` will begin it; ``active`` has, or is about to; ``gone`` will not; ``unknown`` where
            SLURM cannot be asked.
        number: SLURM's number of the job, None elsewhere.
        submission: what it belongs to.
        note: why the state is unknown, or SLURM's word for how the job ended.
        started: seconds since the epoch when the job began, the last time if it was requeued; None where that
            is not known.
        reason: why it waits, in SLURM's word; empty elsewhere.
    """

    state: Literal["pending", "active", "gone", "unknown"]
    number: str | None
    submission: Submission
    note: str = ""
    started: float | None = None
    reason: str = ""


def submissions_folder(runs: Path) -> Path:
    """Where submissions are kept."""
    return runs / ".submitit"


def draft(cluster: Cluster, sweep: str, cells: Iterable[str], resources: Resources | None) -> Submission:
    """A submission that is not on record yet."""
    resources = resources or Resources()
    return Submission(
        name=f"pebench-{sweep}-{secrets.token_hex(4)}",
        cluster=cluster,
        sweep=sweep,
        cells=tuple(cells),
        pack=resources.pack,
        time=time.time(),
        host=socket.gethostname(),
        user=user(),
        pids=(os.getpid(),) if cluster == "inline" else (),
        resources=resources,
    )


def begin(
    runs: Path, cluster: Cluster, sweep: str, cells: Iterable[str], resources: Resources | None = None
) -> Submission:
    """Records what is about to be started, so that it is known whatever happens in the midst of it."""
    submission = draft(cluster, sweep, cells, resources)
    folder = submission.folder(runs)
    folder.mkdir(parents=True)
    atomic.write_json(folder / "code.json", source_code.installed().model_dump(mode="json"))
    if patch := source_code.patch():
        atomic.write_text(folder / "changes.diff", patch)
    write(runs, submission)
    return submission


def user() -> str:
    """The name of who runs this process, empty where the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def write(runs: Path, submission: Submission) -> None:
    """Records a submission in place of what was recorded under its name."""
    path = submission.folder(runs) / "submission.json"
    atomic.write_json(path, submission.model_dump(mode="json"))


def end(runs: Path, submission: Submission) -> None:
    """Records that the processes of a submission, which may live on, have nothing more to do with it."""
    # It may have been cancelled meanwhile, by another process.
    newest = read(submission.folder(runs) / "submission.json")
    write(runs, newest.model_copy(update={"pids": ()}))


def read(path: Path) -> Submission:
    """The submission of a ``submission.json``.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return Submission.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} cannot be read; remove its folder if nothing of it runs any more."
        ) from error


def claim(folder: Path, run_id: str, worker: int) -> bool:
    """Takes a cell for one of the workers of a submission; False where another has it.

    A worker that starts again still has what it took before.
    """
    claims = folder / "claims"
    claims.mkdir(exist_ok=True)
    ours = claims / f".{run_id}.{worker}.{os.getpid()}"
    ours.write_text(str(worker), encoding="ascii")
    try:
        # A link either appears whole, with its content, or fails: no reader meets an empty claim.
        os.link(ours, claims / run_id)
    except FileExistsError:
        return _claimant(folder, run_id) == worker
    finally:
        ours.unlink()
    return True


def claimed(folder: Path) -> list[str]:
    """The ids of the runs that workers of a submission have taken."""
    try:
        return sorted(claim.name for claim in (folder / "claims").iterdir() if not claim.name.startswith("."))
    except FileNotFoundError:
        return []


def jobs(runs: Path, cells: Iterable[str]) -> dict[str, Job]:
    """The job of each of these cells by run id; a cell that was never submitted is absent."""
    wanted = set(cells)
    newest: dict[str, Submission] = {}
    for submission in sorted(_all(runs), key=lambda submission: submission.time):
        newest |= dict.fromkeys(wanted.intersection(submission.cells), submission)
    relevant = {submission.name: submission for submission in newest.values()}
    slurm = [submission for submission in relevant.values() if submission.cluster == "slurm"]
    found: dict[str, Job] = _in_slurm(slurm, newest)
    for submission in relevant.values():
        if submission.cluster == "slurm":
            continue
        alive = [submission.is_carried_by(pid) for pid in submission.pids]
        for run_id in submission.cells:
            if newest.get(run_id) is submission:
                found[run_id] = _local(runs, submission, run_id, alive)
    return found


def newest_of(runs: Path, sweep: str) -> Submission | None:
    """The last submission of a sweep, None if there was none."""
    own = [submission for submission in _all(runs) if submission.sweep == sweep]
    return max(own, key=lambda submission: submission.time, default=None)


def of_cell(submission: Submission, run_id: str) -> tuple[str, ...]:
    """The cells that share the job of a cell, itself included."""
    return submission.cells_of_job(submission.cells.index(run_id) // submission.pack)


def printed(runs: Path, submission: Submission, number: str | None) -> list[Path]:
    """The files that hold what a job printed, what went wrong first.

    Args:
        runs: the folder of the runs.
        submission: what the job belongs to.
        number: SLURM's of the job; None for every file, as of workers on this machine.
    """
    folder = submission.folder(runs)
    pattern = f"{number}_*_log" if number is not None else "*_log"
    return [*sorted(folder.glob(f"{pattern}.err")), *sorted(folder.glob(f"{pattern}.out"))]


def lost_workers(runs: Path, submission: Submission, cell: str) -> list[str]:
    """The processes of workers on this machine that were to begin a cell and did not end as they should: an
    exception ended them, or a signal that left them no time."""
    if submission.cluster != "local" or submission.host != socket.gethostname():
        return []
    # Most looks at runs do without submitit, which takes longer to import than they take.
    from pebench.submission.submitit_internals import ended_well

    folder = submission.folder(runs)
    claimant = _claimant(folder, cell)
    pids = submission.pids if claimant is None else submission.pids[claimant : claimant + 1]
    gone = [pid for pid in pids if not submission.is_carried_by(pid)]
    return [str(pid) for pid in gone if not ended_well(folder, str(pid))]


def every(runs: Path) -> list[Submission]:
    """All submissions, as they are on record."""
    return [read(path) for path in submissions_folder(runs).glob("*/submission.json")]


def _all(runs: Path) -> list[Submission]:
    """All submissions, with the cells that were chosen."""
    found = every(runs)
    return [each.model_copy(update={"cells": with_choices(runs, each.cells)}) for each in found]


def _in_slurm(slurm: list[Submission], newest: dict[str, Submission]) -> dict[str, Job]:
    try:
        queue = scheduler.queue(submission.name for submission in slurm)
        hidden = any(submission.user != user() for submission in slurm) and scheduler.hides_jobs_of_others()
    except scheduler.SchedulerSilent as error:
        return {
            run_id: Job("unknown", submission.job, submission, str(error))
            for submission in slurm
            for run_id in submission.cells
            if newest.get(run_id) is submission
        }
    places = {
        run_id: (submission, index // submission.pack)
        for submission in slurm
        for index, run_id in enumerate(submission.cells)
        if newest.get(run_id) is submission
    }
    known = {run_id: queue.get((submission.name, place)) for run_id, (submission, place) in places.items()}
    forgotten = {run_id: _number(*places[run_id]) for run_id, job in known.items() if job is None}
    ends = scheduler.ended(number for number in forgotten.values() if number is not None)
    found = {}
    for run_id, (submission, _) in places.items():
        job, number = known[run_id], forgotten.get(run_id)
        if job is not None and job.over:
            found[run_id] = Job("gone", job.number, submission, job.state, job.started)
        elif job is not None:
            state: Literal["pending", "active"] = "pending" if job.pending else "active"
            found[run_id] = Job(state, job.number, submission, "", job.started, job.reason)
        elif hidden and submission.user != user():
            found[run_id] = Job(
                "unknown", number, submission, f"this SLURM does not show the jobs of {submission.user}"
            )
        else:
            found[run_id] = Job("gone", number, submission, ends.get(number or "", ""))
    return found


def _number(submission: Submission, place: int) -> str | None:
    if submission.job is None:
        return None
    return submission.job if len(submission.cells) <= submission.pack else f"{submission.job}_{place}"


def _local(runs: Path, submission: Submission, run_id: str, alive: list[bool]) -> Job:
    if submission.host != socket.gethostname():
        # Its processes cannot be seen from here; the beat of the run's own worker has to do.
        return Job("gone", None, submission)
    if submission.cluster == "inline":
        return Job("active" if any(alive) else "gone", None, submission)
    worker = _claimant(submission.folder(runs), run_id)
    if worker is None:
        return Job("pending" if any(alive) else "gone", None, submission)
    return Job("active" if worker < len(alive) and alive[worker] else "gone", None, submission)


def _claimant(folder: Path, run_id: str) -> int | None:
    try:
        return int((folder / "claims" / run_id).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
