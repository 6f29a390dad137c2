"""What SLURM knows of jobs, asked by name: a name is known before submission, a number only after."""

from __future__ import annotations

import contextlib
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
    """One job in the queue.

    Attributes:
        number: as ``scancel`` takes it, ``"123"`` or ``"123_4"``.
        pending: whether it waits for its turn; it runs otherwise.
    """

    number: str
    pending: bool


def queue(names: Iterable[str]) -> dict[tuple[str, int], QueuedJob]:
    """The jobs of these names that wait or run, by name and index in their array.

    Raises:
        SchedulerSilent: there is no SLURM here, or it does not answer.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    lines = _ask("squeue", "--noheader", "--array", f"--name={','.join(wanted)}", "--format=%j|%K|%i|%T")
    found = {}
    for line in filter(None, lines.splitlines()):
        name, index, number, state = line.strip().split("|")
        # A job that is no array has no index; it does the work of the first.
        place = int(index) if index.isdigit() else 0
        found[name, place] = QueuedJob(
            number, state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
        )
    return found


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
    """What ``sbatch --help`` prints.

    Raises:
        SchedulerSilent: there is no SLURM here.
    """
    return _ask("sbatch", "--help")


def cancel_by_name(name: str) -> None:
    """Cancels every job of a name, if there is one and SLURM hears it."""
    with contextlib.suppress(SchedulerSilent):
        _ask("scancel", f"--name={name}")


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise SchedulerSilent(f"there is no SLURM on this machine ('{command[0]}' is not in the PATH)")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise SchedulerSilent(f"'{command[0]}' has not answered for {_PATIENCE} seconds") from error
    if answer.returncode:
        # SLURM's commands say what failed first, what that led to next, and what it all means last.
        reason = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise SchedulerSilent(f"'{command[0]}' does not answer: {reason}")
    return answer.stdout
