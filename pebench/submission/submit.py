"""Submitting a sweep: what is missing is started, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import remember_folder, write_sweep
from pebench.store.tuned_choices import (
    choice_of,
    choices_folder,
    choose,
    decide,
    is_slot,
    with_choices,
    write_choice,
)
from pebench.submission import scheduler, slurm, status, submissions
from pebench.submission.exclusive import exclusive
from pebench.submission.plan import Array, plan
from pebench.submission.requirements import check_path, require_ready, require_starts, terms
from pebench.submission.resources import Resources
from pebench.submission.start import stages, start_cells, starts_of
from pebench.submission.status import BUSY, FINISHED, IDLE, CellStatus, State
from pebench.submission.submissions import Cluster
from pebench.sweeping.sweep import Sweep


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
    check_path(runs, cluster)
    to_start = _specs_of(sweep, runs, _foreseen(sweep, runs, states, only).started)
    resources, largest = terms(sweep, cluster, resources, to_start)
    require_starts(to_start, runs)
    if cluster == "inline":
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
            found.submissions = start_cells(sweep, runs, cluster, resources, found.started, largest)
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
    check_path(runs, cluster)
    found = Preview(_foreseen(sweep, runs, states, only))
    to_start = _specs_of(sweep, runs, found.submitted.started)
    resources, largest = terms(sweep, cluster, resources, to_start)
    require_starts(to_start, runs)
    if cluster == "slurm":
        ready, waiting = stages(found.submitted.started)
        for stage in (ready, waiting):
            first = len(found.arrays)
            arrays = plan(stage, starts_of(sweep), largest, resources.pack, resources.max_parallel)
            found.arrays += [
                array._replace(after=tuple(place + first for place in array.after)) for array in arrays
            ]
        found.choices = len({choice_of(cell) for cell in waiting})
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


def _is_on_record(runs: Path, cell: str) -> bool:
    return not is_slot(cell) or (choices_folder(runs) / choice_of(cell) / "candidates.json").exists()


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


def _prepare(sweep: Sweep, runs: Path) -> None:
    from pebench.plugins.named_files import plugin_files

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
