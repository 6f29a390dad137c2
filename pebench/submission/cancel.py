"""Stopping what was submitted: each run keeps its checkpoint, and the next submit goes on from there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import choice_of, is_slot
from pebench.submission import scheduler, status, submissions
from pebench.submission.exclusive import exclusive
from pebench.submission.status import BUSY
from pebench.submission.submissions import Submission


@dataclass
class Cancelled:
    """Result of a cancel.

    Attributes:
        cells: that were under way and are being stopped.
        left: those that are under way for another sweep, with its name, empty where nobody submitted them.
    """

    cells: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def cancel(runs: Path, record: SweepRecord) -> Cancelled:
    """Stops every cell of a sweep that is under way for it.

    Raises:
        UserError: SLURM does not answer, or the jobs are not the user's or not of this machine.
    """
    runs = runs.absolute()
    with exclusive(runs):
        busy = [cell.run for cell in status.statuses(runs, record.runs) if cell.state in BUSY]
        choosing = submissions.jobs(runs, {choice_of(cell) for cell in busy if is_slot(cell)})
        jobs = submissions.jobs(runs, busy)
        found = Cancelled()
        chosen: dict[str, Submission] = {}
        for run_id in busy:
            if run_id not in jobs:
                found.left[run_id] = ""
            elif jobs[run_id].submission.sweep != record.name:
                found.left[run_id] = jobs[run_id].submission.sweep
            else:
                found.cells.append(run_id)
                chosen[jobs[run_id].submission.name] = jobs[run_id].submission
        chosen |= {
            job.submission.name: job.submission
            for job in choosing.values()
            if job.submission.sweep == record.name and job.state != "gone"
        }
        for submission in chosen.values():
            _stop(runs, submission)
        return found


def cancel_cell(runs: Path, run_id: str) -> bool:
    """Stops one cell, wherever it is; the others of its job or its process go on.

    Returns:
        Whether it was under way.
    """
    runs = runs.absolute()
    with exclusive(runs):
        (cell,) = status.statuses(runs, [run_id])
        if cell.state not in BUSY:
            return False
        # Whoever works on it sees this within a second, and whoever would begin it leaves it out.
        RunFolder(runs / run_id).cancelled.touch()
        job = submissions.jobs(runs, [run_id]).get(run_id)
        alone = job is not None and job.submission.cluster == "slurm" and job.submission.pack == 1
        if alone and job is not None and job.state == "pending" and job.number is not None:
            scheduler.cancel_job(job.number)
        return True


def _stop(runs: Path, submission: Submission) -> None:
    # The workers look for this when they are told to stop, so it is there before they are.
    submissions.write(runs, submission.model_copy(update={"cancelled": time.time()}))
    try:
        if submission.cluster == "slurm":
            scheduler.cancel(submission.name)
        elif submission.host != socket.gethostname():
            raise UserError(f"its processes run on {submission.host}, so cancel it there.")
        else:
            for pid in submission.pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
    except (scheduler.SchedulerSilent, PermissionError, UserError) as error:
        submissions.write(runs, submission)
        owner = f", which {submission.user} submitted," if submission.user != submissions.user() else ""
        what = f"job {submission.job}" if submission.job else f"a submission of {submission.sweep}"
        raise UserError(f"{what}{owner} cannot be cancelled: {str(error).rstrip('.')}.") from error
