"""Cells begun on a cluster: workers of this machine, or arrays of SLURM behind what they wait for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pebench.errors import UserError
from pebench.store.tuned_choices import choice_of, is_slot
from pebench.submission import scheduler, slurm, submissions
from pebench.submission.devices import devices_of
from pebench.submission.interpreter import interpreter
from pebench.submission.plan import Array, plan
from pebench.submission.requirements import execution_of
from pebench.submission.resources import Resources
from pebench.submission.submissions import Cluster
from pebench.sweeping.sweep import Sweep

_YEAR = 365 * 24 * 60


def start_cells(
    sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources, cells: list[str], largest: int
) -> list[submissions.Submission]:
    """Begins cells, or queues them.

    Args:
        sweep, runs, cluster, resources: see `pebench.submission.submit.submit`.
        cells: ids of runs and slots.
        largest: tasks that an array of SLURM may have at the most.

    Returns:
        What carries them out, one entry an array in SLURM.

    Raises:
        UserError: the cluster refuses the jobs.
    """
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
    executor = LocalExecutor(folder, python=interpreter())
    # A local job cannot do without a limit.
    executor.update_parameters(timeout_min=_YEAR)
    execution = execution_of(sweep, resources)
    if resources.cpus is not None:
        execution = execution.model_copy(update={"threads": resources.cpus})
    devices = devices_of(begun.workers, execution.ranks)
    with _detached(folder / "workers.log"):
        jobs = [
            executor.submit(Worker(), str(folder), number, execution.model_dump_json(), device)
            for number, device in enumerate(devices)
        ]
    pids = tuple(int(job.job_id) for job in jobs)
    begun = begun.model_copy(update={"pids": pids, "started": time.time()})
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


def _start_slurm(
    sweep: Sweep, runs: Path, resources: Resources, cells: list[str], largest: int
) -> list[submissions.Submission]:
    known, waiting = stages(cells)
    found: list[submissions.Submission] = []
    try:
        _queue(sweep, runs, resources, known, largest, found)
        _postpone_choosers(sweep, runs, known, found)
        if waiting:
            before = _queue_chooser(sweep, runs, resources, waiting, found)
            _queue(sweep, runs, resources, waiting, largest, found, before)
    except UserError:
        if found:
            submitted = ", ".join(submission.job for submission in found if submission.job)
            sys.stderr.write(f"pebench: what comes before is queued as {submitted}.\n")
        raise
    return found


def _queue(
    sweep: Sweep,
    runs: Path,
    resources: Resources,
    cells: list[str],
    largest: int,
    found: list[submissions.Submission],
    before: frozenset[str] = frozenset(),
) -> None:
    """Queues the arrays of some cells behind the jobs `before`, and adds them to what was queued."""
    from pebench.submission.worker import Worker

    starts = starts_of(sweep)
    arrays = plan(cells, starts, largest, resources.pack, resources.max_parallel)
    elsewhere = {starts[cell] for cell in cells if cell in starts} - set(cells)
    under_way = submissions.jobs(runs, elsewhere)
    first = len(found)
    for array in arrays:
        others = {
            job.number for cell in array.cells if (job := under_way.get(starts.get(cell, ""))) and job.number
        }
        own = {number for place in array.after if (number := found[first + place].job)}
        begun = submissions.begin(runs, "slurm", sweep.name, array.cells, resources)
        execution = execution_of(sweep, resources)
        found.append(slurm.start(runs, begun, array, Worker(), execution, sorted(before | own | others)))


def _queue_chooser(
    sweep: Sweep,
    runs: Path,
    resources: Resources,
    waiting: list[str],
    found: list[submissions.Submission],
) -> frozenset[str]:
    """Queues the job that makes the choices which some cells wait for.

    Returns:
        Its number.
    """
    from pebench.submission import chooser

    keys = tuple(dict.fromkeys(map(choice_of, waiting)))
    small = chooser.resources_of(resources, len(keys))
    begun = submissions.begin(runs, "slurm", sweep.name, keys, small)
    array = Array(keys, len(keys), None, ())
    ahead = {submission.job for submission in found if submission.job} | _jobs_of_trials(sweep, runs, keys)
    begun = slurm.start(runs, begun, array, chooser.Chooser(), execution_of(sweep, small), sorted(ahead))
    found.append(begun)
    return frozenset({begun.job} if begun.job else ())


def _postpone_choosers(
    sweep: Sweep, runs: Path, started: list[str], found: list[submissions.Submission]
) -> None:
    """Lets choices that are queued already wait for those of their trials that were started again too."""
    keys = [choice.key for choice in sweep.choices if set(choice.trials) & set(started)]
    queued = {
        job.number: job.submission
        for job in submissions.jobs(runs, keys).values()
        if job.state == "pending" and job.number is not None
    }
    for number, submission in queued.items():
        ahead = {own.job for own in found if own.job} | _jobs_of_trials(sweep, runs, submission.cells)
        scheduler.wait_for(number, sorted(ahead))


def _jobs_of_trials(sweep: Sweep, runs: Path, keys: Iterable[str]) -> set[str]:
    """Numbers of the jobs under way that carry out trials of some choices."""
    trials = [run_id for choice in sweep.choices if choice.key in keys for run_id in choice.trials]
    jobs = submissions.jobs(runs, trials).values()
    return {job.number for job in jobs if job.number and job.state in ("pending", "active", "unknown")}


def starts_of(sweep: Sweep) -> dict[str, str]:
    """The run that each cell starts from, by the id of the cell; a slot where that run is not chosen yet."""
    found = {
        spec.run_id: spec.start.run for spec in sweep.possible().values() if spec.start and spec.start.is_run
    }
    for choice in sweep.choices:
        slots = {
            spec.run_id: slot for slot, spec in zip(choice.slots, choice.candidates[0].cells, strict=True)
        }
        found |= {
            slot: slots.get(spec.start.run, spec.start.run)
            for slot, spec in zip(choice.slots, choice.candidates[0].cells, strict=True)
            if spec.start and spec.start.is_run
        }
    return found


def stages(cells: list[str]) -> tuple[list[str], list[str]]:
    """The cells that are known, and those that wait for a choice."""
    return [cell for cell in cells if not is_slot(cell)], [cell for cell in cells if is_slot(cell)]
