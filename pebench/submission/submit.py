"""Submitting a sweep: what is missing is started, and nothing else."""

from __future__ import annotations

import io
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import Field

from pebench.errors import UserError
from pebench.running.execution import Execution
from pebench.spec import Frozen, RunSpec
from pebench.store import RunFolder, write_sweep
from pebench.submission import scheduler, status, submissions
from pebench.submission.status import BUSY, FINISHED
from pebench.submission.submissions import Cluster
from pebench.submission.waves import waves
from pebench.sweeping.sweep import Sweep

_PATIENCE = 60.0
_YEAR = 365 * 24 * 60
# submitit counts every preemption of a job with a limit of ten minutes or less as a time-out, and a run that
# comes back from its checkpoint has lost nothing by it.
_REQUEUES = 10_000
# Seconds between SLURM's signal and the end of the time: room for a step and a checkpoint.
_WARNING = 120


class Resources(Frozen):
    """What each job gets.

    Attributes:
        partition: of SLURM, None for its default.
        minutes: time limit of a job in SLURM; a job that reaches it goes on in a new one.
        gpus: of a job in SLURM.
        cpus: of a job; on this machine the threads of a worker. None leaves it to the sweep, or to SLURM.
        memory: gigabytes of a job in SLURM, None for its default.
        parallel: jobs at a time; None for no bound in SLURM, and for one worker on this machine.
    """

    partition: str | None = None
    minutes: Annotated[int, Field(ge=1)] = 240
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None
    parallel: Annotated[int, Field(ge=1)] | None = None


@dataclass
class Submitted:
    """What a submit found and did.

    Attributes:
        started: ids of the runs that were started.
        finished: ids of the runs that were finished before.
        busy: ids of the runs that had a job or a worker already.
        submissions: what carries the started runs out, one entry an array in SLURM.
    """

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    submissions: list[submissions.Submission] = field(default_factory=list)


def submit(sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources | None = None) -> Submitted:
    """Creates the run folders of a sweep and starts the cells that are neither finished nor under way.

    For ``local`` and ``slurm`` it returns when the jobs are queued. For ``inline`` nothing runs yet: this
    process is on record as the one that will, and `pebench.submission.inline.carry_out` does it.

    Args:
        sweep: what to submit.
        runs: the folder of the runs, made if it is not there.
        cluster: ``slurm``, ``local`` workers in the background, or ``inline``, this process.
        resources: what each job gets.

    Raises:
        UserError: the folder cannot be written, or the cluster refuses the jobs.
    """
    runs = runs.absolute()
    if cluster != "slurm":
        # The nodes of a cluster may see files that the machine of submission does not.
        _check_data(sweep)
    with _exclusive(runs):
        _prepare(sweep, runs)
        found = Submitted()
        for cell in status.statuses(runs, [spec.run_id for spec in sweep.cells]):
            group = (
                found.finished
                if cell.state in FINISHED
                else found.busy
                if cell.state in BUSY
                else found.started
            )
            group.append(cell.run)
        if found.started:
            found.submissions = _start(sweep, runs, cluster, resources or Resources(), found.started)
    return found


def _check_data(sweep: Sweep) -> None:
    """Lets each task look for its data once.

    Raises:
        UserError: it is not there.
    """
    from pebench.resolve import build_task

    for spec in {spec.task.model_dump_json(): spec for spec in sweep.cells}.values():
        build_task(spec).check()


@contextmanager
def _exclusive(runs: Path) -> Iterator[None]:
    """Two submits at a time would each start what they both find missing."""
    folder = submissions.submissions_folder(runs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", timeout=_PATIENCE):
            yield
    except Timeout as error:
        raise UserError(f"another submit has held {folder / 'lock'} for {_PATIENCE:.0f} seconds.") from error
    except OSError as error:
        raise UserError(f"cannot write {error.filename or runs}: {error.strerror}.") from error


def _prepare(sweep: Sweep, runs: Path) -> None:
    plugins = _PluginFiles()
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, plugins.of(spec))
    write_sweep(runs, sweep.record())


class _PluginFiles:
    """The plugin files of many specifications, each pair of encoding and task read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, bytes]] = {}

    def of(self, spec: RunSpec) -> dict[str, bytes]:
        from pebench.resolve import plugin_files

        names = (spec.encoding.name, spec.task.name)
        if names not in self._known:
            self._known[names] = plugin_files(spec)
        return self._known[names]


def _start(
    sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources, cells: list[str]
) -> list[submissions.Submission]:
    if cluster == "inline":
        return [submissions.begin(runs, "inline", sweep.name, cells, pids=(os.getpid(),))]
    if cluster == "local":
        return [_start_local(sweep, runs, resources, cells)]
    return _start_slurm(sweep, runs, resources, cells)


def _start_local(sweep: Sweep, runs: Path, resources: Resources, cells: list[str]) -> submissions.Submission:
    from submitit import LocalExecutor

    from pebench.submission.worker import LocalWorker

    begun = submissions.begin(runs, "local", sweep.name, cells)
    folder = begun.folder(runs)
    executor = LocalExecutor(folder)
    # A local job cannot do without a limit.
    executor.update_parameters(timeout_min=_YEAR)
    execution = _with_threads(sweep.execution, resources).model_dump_json()
    workers = min(resources.parallel or 1, len(cells))
    devices = devices_of(workers)
    with _detached(folder / "workers.log"):
        jobs = [
            executor.submit(LocalWorker(), str(folder), number, execution, device)
            for number, device in enumerate(devices)
        ]
    begun = begun.model_copy(update={"pids": tuple(int(job.job_id) for job in jobs)})
    submissions.write(runs, begun)
    return begun


def devices_of(workers: int) -> list[str | None]:
    """What CUDA_VISIBLE_DEVICES is to be for each worker: the GPUs in turn, None where there are none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        import torch

        visible = [str(number) for number in range(torch.cuda.device_count())]
    else:
        visible = [name for name in chosen.split(",") if name] or [""]
    return [visible[number % len(visible)] if visible else None for number in range(workers)]


@contextmanager
def _detached(log: Path) -> Iterator[None]:
    """Processes started in this block hold neither the terminal nor a pipe, whose reader would wait."""
    ours = {number: os.dup(number) for number in (0, 1, 2)}
    with log.open("wb") as written, Path(os.devnull).open("rb") as nothing:
        try:
            for number, file in {0: nothing, 1: written, 2: written}.items():
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, copy in ours.items():
                os.dup2(copy, number)
                os.close(copy)


def _with_threads(execution: Execution, resources: Resources) -> Execution:
    return execution if resources.cpus is None else execution.model_copy(update={"threads": resources.cpus})


def _start_slurm(
    sweep: Sweep, runs: Path, resources: Resources, cells: list[str]
) -> list[submissions.Submission]:
    try:
        size = scheduler.largest_array()
    except scheduler.SchedulerSilent as error:
        raise UserError(f"{error}: use '--cluster local' or '--cluster inline' here.") from error
    starts = {spec.run_id: spec.start.run for spec in sweep.cells if spec.start is not None}
    under_way = submissions.jobs(runs, {starts[cell] for cell in cells if cell in starts} - set(cells))
    found: list[submissions.Submission] = []
    before: list[str] = []
    for wave in waves(cells, starts):
        chunks = [wave[start : start + size] for start in range(0, len(wave), size)]
        # SLURM bounds an array, not the arrays of a sweep together.
        parallel = math.ceil(resources.parallel / len(chunks)) if resources.parallel else None
        others = {job.number for cell in wave if (job := under_way.get(starts.get(cell, ""))) and job.number}
        after = sorted({*before, *others})
        try:
            arrays = [_start_array(sweep, runs, resources, chunk, parallel, after) for chunk in chunks]
        except UserError:
            if found:
                submitted = ", ".join(submission.job for submission in found if submission.job)
                sys.stderr.write(f"pebench: what comes before is queued as {submitted}.\n")
            raise
        before = [submission.job for submission in arrays if submission.job is not None]
        found += arrays
    return found


def _start_array(
    sweep: Sweep,
    runs: Path,
    resources: Resources,
    cells: list[str],
    parallel: int | None,
    after: list[str],
) -> submissions.Submission:
    from submitit import SlurmExecutor

    from pebench.submission.worker import CellJob

    begun = submissions.begin(runs, "slurm", sweep.name, cells)
    executor = SlurmExecutor(begun.folder(runs), max_num_timeout=_REQUEUES)
    wanted = {
        "partition": resources.partition,
        "gpus_per_node": resources.gpus or None,
        "cpus_per_task": resources.cpus,
        "mem": f"{math.ceil(resources.memory * 1024)}M" if resources.memory else None,
        # Whatever became of those before: a cell whose start failed says so itself, where after success alone
        # it would stay in the queue for ever.
        "dependency": f"afterany:{':'.join(after)}" if after else None,
    }
    executor.update_parameters(
        job_name=begun.name,
        time=resources.minutes,
        signal_delay_s=min(_WARNING, 30 * resources.minutes),
        array_parallelism=parallel or len(cells),
        **{key: value for key, value in wanted.items() if value is not None},
    )
    folders = [str(runs / run_id) for run_id in cells]
    execution = [sweep.execution.model_dump_json()] * len(cells)
    try:
        # submitit prints what sbatch says before it raises the same.
        with redirect_stderr(io.StringIO()):
            jobs = executor.map_array(CellJob(), folders, execution)
    except (RuntimeError, OSError) as error:
        shutil.rmtree(begun.folder(runs))
        raise UserError(f"SLURM refuses the jobs: {_reason(error)}.") from error
    begun = begun.model_copy(update={"job": jobs[0].job_id.partition("_")[0]})
    submissions.write(runs, begun)
    return begun


def _reason(error: Exception) -> str:
    lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
