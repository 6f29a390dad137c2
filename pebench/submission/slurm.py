"""Job arrays: how they are asked for, and queued."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

from pebench.errors import UserError
from pebench.running.execution import Execution
from pebench.submission import sbatch_parameters, scheduler, submissions
from pebench.submission.interpreter import interpreter
from pebench.submission.plan import Array
from pebench.submission.resources import OPTIONS, Resources
from pebench.submission.submissions import Submission

# submitit counts every preemption of a job with a limit of ten minutes or less as a time-out, and a run that
# comes back from its checkpoint has lost nothing by it.
_REQUEUES = 10_000
# Seconds between SLURM's signal and the end of the time: room for a step and a checkpoint.
_WARNING = 120


def terms(resources: Resources) -> tuple[Resources, int]:
    """Asks SLURM first, so that nothing is written where there is none.

    Returns:
        The resources with parameters that this sbatch knows, and the largest array that it takes.

    Raises:
        UserError: SLURM cannot be asked from here, or sbatch does not know a parameter.
    """
    try:
        parameters = sbatch_parameters.checked(resources.slurm)
        return resources.model_copy(update={"slurm": parameters}), scheduler.largest_array()
    except scheduler.SchedulerSilent as error:
        raise UserError(f"{error}: use '--cluster local' or '--cluster inline' here.") from error


def start(
    runs: Path,
    submission: Submission,
    array: Array,
    work: Callable[[str, int, str], str],
    execution: Execution,
    after: list[str],
) -> Submission:
    """Queues an array.

    Args:
        runs: the folder of the runs.
        submission: on record already.
        array: its jobs.
        work: what each does, called with the submission's folder, the job's number and the execution.
        execution: how a run is carried out.
        after: SLURM's numbers of the jobs that must end before.

    Returns:
        The submission, with its number.

    Raises:
        UserError: SLURM refuses the jobs; the record is gone then.
    """
    folder = str(submission.folder(runs))
    executor = _executor(runs, submission, array, after)
    how = _shared(execution, submission.resources).model_dump_json()
    try:
        # submitit prints what sbatch says before it raises the same.
        with redirect_stderr(io.StringIO()), _outside_of_jobs():
            numbers = list(range(array.jobs))
            jobs = executor.map_array(work, [folder] * array.jobs, numbers, [how] * array.jobs)
    except (RuntimeError, OSError) as error:
        # An answer that was lost may have been a yes.
        with suppress(scheduler.SchedulerSilent):
            scheduler.cancel(submission.name)
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"SLURM refuses the jobs: {_reason(error)}.") from error
    submission = submission.model_copy(update={"job": jobs[0].job_id.partition("_")[0]})
    submissions.write(runs, submission)
    return submission


def script(runs: Path, submission: Submission, array: Array) -> str:
    """The script that sbatch would be given; nothing is written."""
    from pebench.submission import submitit_internals

    return submitit_internals.script(_executor(runs, submission, array, []), array.jobs)


def _executor(runs: Path, submission: Submission, array: Array, after: list[str]) -> Any:
    from submitit import SlurmExecutor

    resources = submission.resources
    executor = SlurmExecutor(submission.folder(runs), max_num_timeout=_REQUEUES, python=interpreter())
    wanted = {
        **{OPTIONS[name].sbatch[0].replace("-", "_"): value for name, value in resources.named().items()},
        "nodes": resources.nodes,
        "ntasks_per_node": (resources.ranks or 1) // resources.nodes,
        "time": resources.time,
        "mem": f"{math.ceil(resources.mem * 1024)}M" if resources.mem else None,
        "setup": list(resources.setup) or None,
        # Whatever became of those before: a cell whose start failed says so itself, where after success alone
        # it would stay in the queue for ever.
        "dependency": f"afterany:{':'.join(after)}" if after else None,
    }
    step = ["--kill-on-bad-exit=1"]
    if resources.cpus is not None:
        # Since SLURM 22.05 a step does not take this over from its job, and would be bound to one core.
        step.append(f"--cpus-per-task={resources.cpus}")
    executor.update_parameters(
        job_name=submission.name,
        signal_delay_s=min(_WARNING, 30 * resources.time),
        array_parallelism=array.parallel or array.jobs,
        srun_args=step,
        # Some clusters let a job be queued again only if it asked for that.
        additional_parameters={"requeue": True, **resources.slurm},
        **{key: value for key, value in wanted.items() if value is not None},
    )
    return executor


def _shared(execution: Execution, resources: Resources) -> Execution:
    """Cells side by side share the cores of their job, unless the sweep says how many threads one has."""
    if resources.cpus is None or resources.width == 1 or execution.threads is not None:
        return execution
    return execution.model_copy(update={"threads": max(1, resources.cpus // resources.width)})


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hides the environment of a surrounding job, whose sizes sbatch would take over."""
    inside = {name: value for name, value in os.environ.items() if _is_of_a_job(name)}
    for name in inside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(inside)


def _is_of_a_job(name: str) -> bool:
    return name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")) and name != "SLURM_CONF"


def _reason(error: Exception) -> str:
    lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
