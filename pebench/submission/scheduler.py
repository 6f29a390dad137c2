"""Questions to SLURM about jobs, by name: a name is known before submission, a number only after."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

_PATIENCE = 30
_DEFAULT_ARRAY = 1001


class SchedulerSilent(Exception):
    """SLURM cannot be asked from here, or does not answer; the message says which."""


class QueuedJob(NamedTuple):
    """One job that SLURM knows of.

    Attributes:
        number: as ``scancel`` takes it, ``"123"`` or ``"123_4"``.
        state: SLURM's word for it, as ``RUNNING``.
        started: seconds since the epoch when it began, the last time if it was requeued; None where it has
            not or SLURM does not say.
        reason: why it waits, in SLURM's word, as ``Priority``; empty where it does not.
    """

    number: str
    state: str
    started: float | None = None
    reason: str = ""

    @property
    def pending(self) -> bool:
        """Whether it waits for its turn."""
        return self.state in _PENDING

    @property
    def over(self) -> bool:
        """Whether it has ended and will not begin again."""
        return self.state in _OVER


_PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}


def queue(names: Iterable[str]) -> dict[tuple[str, int], QueuedJob]:
    """The jobs of these names that wait, run or ended a little while ago, by name and index in their array.

    Raises:
        SchedulerSilent: there is no SLURM here, or it does not answer.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    lines = _ask(
        "squeue",
        *("--noheader", "--array", "--states=all"),
        f"--name={','.join(wanted)}",
        "--format=%j|%K|%i|%T|%S|%r",
    )
    found = {}
    for line in filter(None, lines.splitlines()):
        name, index, number, state, started, reason = [*line.strip().split("|"), ""][:6]
        # A job that is no array has no index; it does the work of the first.
        place = int(index) if index.isdigit() else 0
        why = "" if reason == "None" else reason
        found[name, place] = QueuedJob(number, state, _seconds(started), why)
    return found


def ended(numbers: Iterable[str]) -> dict[str, str]:
    """How jobs ended that the queue has forgotten, by number: SLURM's word, as ``OUT_OF_MEMORY``.

    Empty where SLURM keeps no accounts or the user may not read them; then nobody knows.
    """
    wanted = sorted(set(numbers))
    if not wanted or shutil.which("sacct") is None:
        return {}
    try:
        lines = _ask(
            "sacct",
            *("--noheader", "--parsable2", "--allocations", "--format=JobID,State"),
            f"--jobs={','.join(wanted)}",
        )
    except SchedulerSilent:
        return {}
    words = (line.split("|") for line in lines.splitlines() if line.count("|") == 1)
    # As in "CANCELLED by 1000".
    return {number: state.partition(" ")[0] for number, state in words}


def cancel(name: str) -> None:
    """Cancels every job of a name that waits or runs.

    Raises:
        SchedulerSilent: there is no SLURM here, it does not answer, or the jobs are not the user's.
    """
    _ask("scancel", f"--name={name}")


def cancel_job(number: str) -> None:
    """Cancels one job, if it is there and SLURM hears it."""
    with contextlib.suppress(SchedulerSilent):
        _ask("scancel", number)


def wait_for(number: str, others: Iterable[str]) -> None:
    """Lets a job that is queued begin only when others have ended, if SLURM hears it."""
    with contextlib.suppress(SchedulerSilent):
        _ask("scontrol", "update", f"JobId={number}", f"Dependency=afterany:{':'.join(others)}")


def hides_jobs_of_others() -> bool:
    """Whether this SLURM shows users only what is theirs."""
    return "jobs" in settings().get("PrivateData", "").lower()


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def settings() -> dict[str, str]:
    """SLURM's configuration by key.

    Raises:
        SchedulerSilent: there is no SLURM here, or it does not answer.
    """
    lines = (line.partition("=") for line in _ask("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals}


def largest_array() -> int:
    """How many jobs one array may have on this cluster.

    Raises:
        SchedulerSilent: there is no SLURM here, or it does not answer.
    """
    known = settings()
    sizes = [
        known.get("MaxArraySize", ""),
        *re.findall(r"max_array_tasks=(\d+)", known.get("SchedulerParameters", "")),
    ]
    return max(1, min((int(size) for size in sizes if size.isdigit()), default=_DEFAULT_ARRAY))


def help_of_sbatch() -> str:
    """The output of ``sbatch --help``.

    Raises:
        SchedulerSilent: there is no SLURM here.
    """
    return _ask("sbatch", "--help")


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise SchedulerSilent(f"there is no SLURM on this machine ('{command[0]}' is not in the PATH)")
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
        )
    except subprocess.TimeoutExpired as error:
        raise SchedulerSilent(f"'{command[0]}' has not answered for {_PATIENCE} seconds") from error
    if answer.returncode:
        # SLURM's commands say what failed first, what that led to next, and what it all means last.
        reason = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise SchedulerSilent(f"'{command[0]}' does not answer: {reason}")
    return answer.stdout
