"""Submitting a sweep: what is missing is started, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pebench.data.needed import Needed
from pebench.errors import UserError
from pebench.memo import remembered
from pebench.running.execution import Execution, check_ranks
from pebench.spec import RunSpec
from pebench.store import RunFolder, remember_folder, write_sweep
from pebench.submission import scheduler, slurm, status, submissions
from pebench.submission.devices import devices_of
from pebench.submission.exclusive import exclusive
from pebench.submission.plan import Array, plan
from pebench.submission.resources import Resources
from pebench.submission.status import BUSY, FINISHED, IDLE, CellStatus, State
from pebench.submission.submissions import Cluster
from pebench.sweeping.sweep import Sweep
from pebench.tuned_choices import (
    choice_of,
    choices_folder,
    choose,
    decide,
    is_slot,
    with_choices,
    write_choice,
)

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

    @property
    def total(self) -> int:
        """How many cells were looked at."""
        return sum(map(len, (self.started, self.finished, self.busy, *self.left.values())))

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
        UserError: the folder cannot be written, or the cluster refuses the jobs; or data are found wanting
            that this process itself would read, or the weights that a cell begins with.
    """
    runs = runs.absolute()
    resources = resources or Resources()
    # Nothing is written before it is known that the cluster is there.
    _check_path(runs, cluster)
    to_start = _specs_of(sweep, runs, _foreseen(sweep, runs, states, only).started)
    resources, largest = _terms(sweep, cluster, resources, to_start)
    _require_starts(to_start, runs)
    if cluster == "inline" and to_start:
        # It takes PyTorch.
        from pebench.running.readiness import require_ready

        require_ready(to_start, runs)
    with exclusive(runs):
        _prepare(sweep, runs)
        wanted = _startable(sweep, with_choices(runs, sweep.record().runs))
        cells = status.statuses(runs, [cell for cell in wanted if only is None or cell in only])
        found = _sorted_by_need(cells, states)
        _release(runs, [cell for cell in cells if cell.run in found.started])
        for run_id in found.started:
            RunFolder(runs / run_id).cancelled.unlink(missing_ok=True)
        if from_scratch:
            for run_id in found.started:
                if not is_slot(run_id):
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
        choices: how many choices a job between them would make.
        script: what sbatch would be given for the first of them, empty elsewhere.
    """

    submitted: Submitted
    arrays: list[Array] = field(default_factory=list)
    choices: int = 0
    script: str = ""


def _is_on_record(runs: Path, cell: str) -> bool:
    return not is_slot(cell) or (choices_folder(runs) / choice_of(cell) / "candidates.json").exists()


def _stages(cells: list[str]) -> tuple[list[str], list[str]]:
    """The cells that are known, and those that wait for a choice."""
    return [cell for cell in cells if not is_slot(cell)], [cell for cell in cells if is_slot(cell)]


def preview(
    sweep: Sweep,
    runs: Path,
    cluster: Cluster,
    resources: Resources,
    states: frozenset[State] = IDLE,
    only: frozenset[str] | None = None,
) -> Preview:
    """Finds out what `submit` would do, and touches no file.

    Args:
        sweep, runs, cluster, resources, states, only: see `submit`.

    Raises:
        UserError: as `submit`.
    """
    runs = runs.absolute()
    _check_path(runs, cluster)
    found = Preview(_foreseen(sweep, runs, states, only))
    to_start = _specs_of(sweep, runs, found.submitted.started)
    resources, largest = _terms(sweep, cluster, resources, to_start)
    _require_starts(to_start, runs)
    if cluster == "slurm":
        stages = _stages(found.submitted.started)
        for stage in stages:
            first = len(found.arrays)
            arrays = plan(stage, _starts(sweep), largest, resources.pack, resources.max_parallel)
            found.arrays += [
                array._replace(after=tuple(place + first for place in array.after)) for array in arrays
            ]
        found.choices = len({choice_of(cell) for cell in stages[1]})
        for array in found.arrays[:1]:
            drafted = submissions.draft("slurm", sweep.name, array.cells, resources)
            found.script = slurm.script(runs, drafted, array)
    return found


def _foreseen(sweep: Sweep, runs: Path, states: frozenset[State], only: frozenset[str] | None) -> Submitted:
    """Which cells a submit would start, without touching a file."""
    # Nothing is on record where the sweep has not been submitted.
    known = {cell.run: cell for cell in status.statuses(runs, [spec.run_id for spec in sweep.cells])}
    cells = _startable(sweep, _as_they_would_be(sweep, with_choices(runs, sweep.record().runs), runs))
    chosen = [cell for cell in cells if cell not in known and _is_on_record(runs, cell)]
    known |= {cell.run: cell for cell in status.statuses(runs, chosen)}
    looked_at = [cell for cell in cells if only is None or cell in only]
    states_of = [known.get(cell) or CellStatus(run=cell, state="missing") for cell in looked_at]
    return _sorted_by_need(states_of, states)


def _specs_of(sweep: Sweep, runs: Path, cells: Iterable[str]) -> list[RunSpec]:
    """The specifications that cells may come to: those of a slot with the settings of every candidate."""
    known = {run_id: [spec] for run_id, spec in sweep.possible().items()}
    for choice in sweep.choices:
        for candidate in choice.candidates:
            for slot, spec in zip(choice.slots, candidate.cells, strict=True):
                known.setdefault(slot, []).append(spec)
    return [spec for cell in cells for spec in known[cell] if not RunFolder(runs / spec.run_id).is_finished]


def _startable(sweep: Sweep, cells: Iterable[str]) -> list[str]:
    """Cells without those of a recorded sweep whose folder is gone: nothing says what they were."""
    known = sweep.possible()
    return [cell for cell in cells if is_slot(cell) or cell in known]


def _as_they_would_be(sweep: Sweep, cells: Iterable[str], runs: Path) -> list[str]:
    """Cells with the runs in place of the slots that a submit would choose at once, as trials of another
    sweep have ended."""
    made: dict[str, str] = {}
    for choice in sweep.choices:
        with suppress(UserError):
            chosen = decide(runs, choice)
            made |= chosen.cells if chosen is not None else {}
    return list(dict.fromkeys(made.get(cell, cell) for cell in cells))


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


def _terms(
    sweep: Sweep, cluster: Cluster, resources: Resources, to_start: list[RunSpec]
) -> tuple[Resources, int]:
    resources = resources.model_copy(update={"ranks": execution_of(sweep, resources).ranks})
    _check_ranks(sweep, resources)
    if cluster == "slurm":
        resources, largest = slurm.terms(resources)
        try:
            _check_data(to_start)
        except UserError as error:
            # The nodes of a cluster may see files that the machine of submission does not.
            sys.stderr.write(f"pebench: on this machine: {error} If it is so where they run, jobs fail.\n")
        return resources, largest
    _check_data(to_start)
    return resources, 0


def _check_ranks(sweep: Sweep, resources: Resources) -> None:
    """Refuses ranks that cannot share the batches, or be shared by the nodes.

    Raises:
        UserError: that is so.
    """
    ranks, nodes = execution_of(sweep, resources).ranks, resources.nodes
    for spec in sweep.possible().values():
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


def _check_data(specs: Iterable[RunSpec]) -> None:
    """Looks for the data of each task once.

    Raises:
        UserError: it is not there.
    """
    for spec in {spec.task.model_dump_json(): spec for spec in specs}.values():
        needed = remembered("needed", _of_the_task(spec), partial(_needed, spec))
        if needed is None:
            from pebench.resolve import build_task

            build_task(spec).check()
            continue
        for data in needed:
            Needed.model_validate(data).find()


def _require_starts(specs: Iterable[RunSpec], runs: Path) -> None:
    """Refuses cells that begin with a finished run whose weights are gone, as after an import without them:
    it is not trained again, so that each of them would fail by itself.

    Raises:
        UserError: there is such a cell.
    """
    for spec in specs:
        if spec.start is None or not spec.start.is_run:
            continue
        start = RunFolder(runs / spec.start.run)
        result = start.result() if start.is_finished else None
        if result is None or result.status != "done" or not start.spec().keeps_weights:
            continue
        if not start.weights.is_file():
            raise UserError(
                f"run '{spec.run_id}' begins with run '{spec.start.run}', whose weights are not in {runs}: "
                "import it with its weights, or take another folder with --runs, where it is trained anew."
            )


def _of_the_task(spec: RunSpec) -> list[Any]:
    """All that decides the task of a specification; see `pebench.resolve.build_task`."""
    return [spec.task.model_dump(mode="json"), spec.model, spec.train.steps > 0]


def _needed(spec: RunSpec) -> list[dict[str, Any]] | None:
    """The data of a task, as a JSON value; None where the task alone can look for them."""
    from pebench.resolve import build_task
    from pebench.task import Task

    task = build_task(spec)
    if type(task).check is not Task.check:
        return None
    return [data.model_dump(mode="json") for data in task.needed()]


def _prepare(sweep: Sweep, runs: Path) -> None:
    from pebench.plugin_files import plugin_files

    known: dict[tuple[str, str], dict[str, bytes]] = {}
    for spec in sweep.cells:
        names = (spec.encoding.name, spec.task.name)
        if names not in known:
            known[names] = plugin_files(spec)
        RunFolder(runs / spec.run_id).create(spec, known[names])
    for choice in sweep.choices:
        write_choice(runs, choice)
    write_sweep(runs, sweep.record())
    if sweep.folder is not None:
        remember_folder(runs, sweep.name, sweep.folder)
    for choice in sweep.choices:
        # One that cannot be made is told of by the state of its cells.
        with suppress(UserError):
            choose(runs, choice)


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
    execution = execution_of(sweep, resources)
    if resources.cpus is not None:
        execution = execution.model_copy(update={"threads": resources.cpus})
    devices = devices_of(begun.workers, execution.ranks)
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


def _start_slurm(
    sweep: Sweep, runs: Path, resources: Resources, cells: list[str], largest: int
) -> list[submissions.Submission]:
    known, waiting = _stages(cells)
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

    starts = _starts(sweep)
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


def _starts(sweep: Sweep) -> dict[str, str]:
    """What cells start from, a slot where that is not chosen yet."""
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
