"""Everything that pebench uses of submitit beyond its public interface, tried with version 1.5.

`tests/test_private_interfaces.py` says what breaks where submitit changes any of it.
"""

from __future__ import annotations

import os
import pickletools
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import JobPaths

if TYPE_CHECKING:
    from submitit import SlurmExecutor

REQUEUE_SIGNAL: signal.Signals = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
"""Signal that submitit has SLURM send before a preemption or the time limit."""


def script(executor: SlurmExecutor, jobs: int) -> str:
    """The script that sbatch would be given for an array of so many jobs."""
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def folder_of_job() -> Path | None:
    """The folder that submitit keeps the files of this job in, None outside of jobs."""
    folder = os.environ.get("SUBMITIT_FOLDER")
    return Path(folder) if folder is not None else None


def job_number() -> str:
    """SLURM's number of this job."""
    return str(JobEnvironment().job_id)


def remove_partial_pickle() -> None:
    """Removes the part of a pickle that an attempt left when it was killed: submitit writes over none."""
    if folder_of_job() is not None:
        pickle: Path = JobEnvironment().paths.submitted_pickle
        pickle.with_name(f"{pickle.name}.save_tmp").unlink(missing_ok=True)


def ended_well(folder: Path, number: str) -> bool:
    """Whether the work of a job came to its end without an exception. What it left is read, not unpickled,
    which would import what it names.

    Args:
        folder: of the job's files.
        number: of the job.
    """
    try:
        left = JobPaths(folder, number).result_pickle.read_bytes()
        return (
            next((word for _, word, _ in pickletools.genops(left) if isinstance(word, str)), "") == "success"
        )
    except (OSError, ValueError):
        return False
