"""Submitting a sweep: what is missing is started, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError
from pebench.running.execution import Execution, check_ranks
from pebench.store import RunFolder, write_sweep
from pebench.submission import scheduler, slurm, status, submissions
from pebench.submission.devices import devices_of
from pebench.submission.exclusive import exclusive
from pebench.submission.plan import Array, plan
from pebench.submission.resources import Resources
from pebench.submission.status import BUSY, FINISHED, IDLE, CellStatus, State
from pebench.submission.submissions import Cluster
from pebench.sweeping.sweep import Sweep

_YEAR = 365 * 24 * 60


@dataclass
class Submitted:
    """Result of a submit.

    Attributes:
        started: ids of the runs that were started.
        finished: ids of the runs that were finished before.
        busy: ids of the runs that had a job or a worker already.
        left: ids of the runs that are in no state that was asked for, by their states.
        submissions: what carries the started runs out, one entry an array in SLURM.
    """

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    left: dict[State, list[str]] = field(default_factory=dict)
    submissions: list[submissions.Submission] = field(default_factory=list)

    def __repr__(self) -> str:
        """How many cells there are of each kind."""
        counts = (
            f"{len(self.started)} started, {len(self.finished)} finished before, {len(self.busy)} under way"
        )
        return f"Submitted({counts})"


def submit(
    sweep: Sweep,
    runs: Path,
    cluster: Cluster,
    resources: Resources | None = None,
    states: frozenset[State] = IDLE,
    from_scratch: bool = False,
    only: frozenset[str] | None = None,
) -> Submitted:
    """Creates the run folders of a sweep and starts the cells that are neither finished nor under way.

    For ``local`` and ``slurm`` it returns when the jobs are queued. For ``inline`` nothing runs yet: this
    process is on record as the one that will, and `pebench.submission.cells.carry_out` does it.

    Args:
        sweep: what to submit.
        runs: the folder of the runs, made if it is not there.
        cluster: ``slurm``, ``local`` workers in the background, or ``inline``, this process.
        resources: what each job gets.
        states: of the cells to start, among those that `pebench.submission.status.IDLE` holds.
        from_scratch: whether these forget their checkpoints and begin anew.
        only: ids of the runs to look at, None for all.

    Raises:
        UserError: the folder cannot be written, or the cluster refuses the jobs.
    """
    runs = runs.absolute()
    resources = resources or Resources()
    # Nothing is written before it is known that the cluster is there.
    _check_path(runs, cluster)
    resources, largest = _terms(sweep, cluster, resources)
    with exclusive(runs):
        _prepare(sweep, runs)
        wanted = [spec.run_id for spec in sweep.cells if only is None or spec.run_id in only]
        cells = status.statuses(runs, wanted)
        found = _sorted_by_need(cells, states)
        _release(runs, [cell for cell in cells if cell.run in found.started])
        for run_id in found.started:
            RunFolder(runs / run_id).cancelled.unlink(missing_ok=True)
        if from_scratch:
            for run_id in found.started:
                RunFolder(runs / run_id).forget_progress()
        if found.started:
            found.submissions = _start(sweep, runs, cluster, resources, found.started, largest)
    return found


@dataclass
class Preview:
    """Result of a dry run.

    Attributes:
        submitted: which cells it would start; it holds no submissions.
        arrays: what would be queued in SLURM, empty elsewhere.
        script: what sbatch would be given for the first of them, empty elsewhere.
    """

    submitted: Submitted
    arrays: list[Array] = field(default_factory=list)
    script: str = ""


def preview(sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources) -> Preview:
    """Finds out what `submit` would do, and touches no file.

    Raises:
        UserError: as `submit`.
    """
    runs = runs.absolute()
    _check_path(runs, cluster)
    resources, largest = _terms(sweep, cluster, resources)
    cells = status.statuses(runs, [spec.run_id for spec in sweep.cells])
    found = Preview(_sorted_by_need(cells, IDLE))
    if cluster == "slurm":
        found.arrays = plan(
            found.submitted.started, _starts(sweep), largest, resources.pack, resources.max_parallel
        )
        for array in found.arrays[:1]:
            drafted = submissions.draft("slurm", sweep.name, array.cells, resources)
            found.script = slurm.script(runs, drafted, array)
    return found


def idle_devices(sweep: Sweep, resources: Resources) -> str:
    """A sentence where the GPUs of a job are more or fewer than the processes that could use them; else
    empty."""
    ranks, gpus = execution_of(sweep, resources).ranks // resources.nodes, resources.gpus
    users = ranks * resources.width
    if gpus > users:
        return (
            f"--gpus {gpus} asks for more GPUs than the {users} of each node that would be used: "
            f"--ranks {gpus * resources.nodes} shares each batch of a cell between all, --pack runs several "
            "cells side by side."
        )
    if 0 < gpus < ranks:
        shared = f"{ranks} ranks of a cell share {gpus} GPU{'s' if gpus > 1 else ''} on each node"
        return f"{shared}: --gpus {ranks} gives each its own."
    return ""


def _check_path(runs: Path, cluster: Cluster) -> None:
    """Refuses a path of which SLURM or submitit would make another one.

    Raises:
        UserError: it has a sign that they replace.
    """
    for sign in {"slurm": "%\\", "local": "%", "inline": ""}[cluster]:
        if sign in str(runs):
            raise UserError(
                f"'{sign}' in the path of the runs, {runs}, means something else to '--cluster {cluster}': "
                "name another folder with --runs, or use '--cluster inline'."
            )


def _terms(sweep: Sweep, cluster: Cluster, resources: Resources) -> tuple[Resources, int]:
    resources = resources.model_copy(update={"ranks": execution_of(sweep, resources).ranks})
    _check_ranks(sweep, resources)
    if cluster == "slurm":
        resources, largest = slurm.terms(resources)
        try:
            _check_data(sweep)
        except UserError as error:
            # The nodes of a cluster may see files that the machine of submission does not.
            sys.stderr.write(f"pebench: on this machine: {error} If it is so where they run, jobs fail.\n")
        return resources, largest
    _check_data(sweep)
    return resources, 0


def _check_ranks(sweep: Sweep, resources: Resources) -> None:
    """Refuses ranks that cannot share the batches, or be shared by the nodes.

    Raises:
        UserError: that is so.
    """
    ranks, nodes = execution_of(sweep, resources).ranks, resources.nodes
    for spec in sweep.cells:
        check_ranks(spec, ranks)
    if ranks % nodes:
        raise UserError(
            f"{ranks} rank{'' if ranks == 1 else 's'} cannot be shared equally by {nodes} nodes: "
            f"--ranks takes a multiple of {nodes}."
        )
    if ranks > 1 and resources.pack > 1:
        raise UserError(f"a job of {ranks} ranks carries out one cell: --pack is for cells of one rank.")


def _sorted_by_need(cells: list[CellStatus], states: frozenset[State]) -> Submitted:
    found = Submitted()
    for cell in cells:
        if cell.state in FINISHED:
            found.finished.append(cell.run)
        elif cell.state in BUSY:
            found.busy.append(cell.run)
        elif cell.state in states:
            found.started.append(cell.run)
        else:
            found.left.setdefault(cell.state, []).append(cell.run)
    return found


def _release(runs: Path, cells: list[CellStatus]) -> None:
    """Cancels the jobs that SLURM still counts as running though their nodes are gone: it would queue them
    again once it notices, beside what is started now."""
    lost = [cell for cell in cells if cell.state == "lost" and cell.job is not None]
    jobs = submissions.jobs(runs, [cell.run for cell in lost])
    for cell in lost:
        mates = submissions.of_cell(jobs[cell.run].submission, cell.run)
        if cell.job is not None and not any(mate.state in BUSY for mate in status.statuses(runs, mates)):
            scheduler.cancel_job(cell.job)


def _check_data(sweep: Sweep) -> None:
    """Lets each task look for its data once.

    Raises:
        UserError: it is not there.
    """
    from pebench.resolve import build_task

    for spec in {spec.task.model_dump_json(): spec for spec in sweep.cells}.values():
        build_task(spec).check()


def _prepare(sweep: Sweep, runs: Path) -> None:
    from pebench.resolve import plugin_files

    known: dict[tuple[str, str], dict[str, bytes]] = {}
    for spec in sweep.cells:
        names = (spec.encoding.name, spec.task.name)
        if names not in known:
            known[names] = plugin_files(spec)
        RunFolder(runs / spec.run_id).create(spec, known[names])
    write_sweep(runs, sweep.record())


def _start(
    sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources, cells: list[str], largest: int
) -> list[submissions.Submission]:
    if cluster == "inline":
        return [submissions.begin(runs, "inline", sweep.name, cells, resources)]
    if cluster == "local":
        return [_start_local(sweep, runs, resources, cells)]
    return _start_slurm(sweep, runs, resources, cells, largest)


def _start_local(sweep: Sweep, runs: Path, resources: Resources, cells: list[str]) -> submissions.Submission:
    from submitit import LocalExecutor

    from pebench.submission.worker import Worker

    begun = submissions.begin(runs, "local", sweep.name, cells, resources)
    folder = begun.folder(runs)
    executor = LocalExecutor(folder)
    # A local job cannot do without a limit.
    executor.update_parameters(timeout_min=_YEAR)
    execution = _with_threads(execution_of(sweep, resources), resources)
    workers = min(resources.max_parallel or 1, len(cells))
    devices = devices_of(workers, execution.ranks)
    with _detached(folder / "workers.log"):
        jobs = [
            executor.submit(Worker(), str(folder), number, execution.model_dump_json(), device)
            for number, device in enumerate(devices)
        ]
    begun = begun.model_copy(update={"pids": tuple(int(job.job_id) for job in jobs)})
    submissions.write(runs, begun)
    return begun


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


def execution_of(sweep: Sweep, resources: Resources) -> Execution:
    """How the runs of a sweep are carried out with these resources."""
    return sweep.execution.model_copy(update={"ranks": resources.ranks or sweep.execution.ranks})


def _with_threads(execution: Execution, resources: Resources) -> Execution:
    return execution if resources.cpus is None else execution.model_copy(update={"threads": resources.cpus})


def _start_slurm(
    sweep: Sweep, runs: Path, resources: Resources, cells: list[str], largest: int
) -> list[submissions.Submission]:
    starts = _starts(sweep)
    arrays = plan(cells, starts, largest, resources.pack, resources.max_parallel)
    under_way = submissions.jobs(runs, {starts[cell] for cell in cells if cell in starts} - set(cells))
    found: list[submissions.Submission] = []
    for array in arrays:
        others = {
            job.number for cell in array.cells if (job := under_way.get(starts.get(cell, ""))) and job.number
        }
        before = {number for place in array.after if (number := found[place].job)}
        begun = submissions.begin(runs, "slurm", sweep.name, array.cells, resources)
        execution = execution_of(sweep, resources)
        try:
            found.append(slurm.start(runs, begun, array, execution, sorted(before | others)))
        except UserError:
            if found:
                submitted = ", ".join(submission.job for submission in found if submission.job)
                sys.stderr.write(f"pebench: what comes before is queued as {submitted}.\n")
            raise
    return found


def _starts(sweep: Sweep) -> dict[str, str]:
    return {spec.run_id: spec.start.run for spec in sweep.cells if spec.start and spec.start.is_run}
