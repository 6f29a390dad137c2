"""The state of every cell, from its folder and from what was submitted for it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from pebench.notation.brevity import briefly
from pebench.notation.quantities import counted
from pebench.specification.flat_spec import told_apart
from pebench.specification.run_spec import Frozen
from pebench.store.record_files import Unreadable
from pebench.store.records import Failure, Worker
from pebench.store.run_folder import RunFolder
from pebench.store.tuned_choices import (
    Choice,
    NoChoice,
    choice_of,
    decide,
    is_slot,
    read_choice,
    with_choices,
)
from pebench.submission import submissions
from pebench.submission.liveness import SILENCE, is_alive
from pebench.submission.submissions import Job

State = Literal[
    "done",
    "diverged",
    "running",
    "requeued",
    "queued",
    "waiting",
    "failed",
    "lost",
    "cancelled",
    "missing",
    "unreadable",
]
"""Where a cell may stand, in the order in which states are listed."""

BUSY: frozenset[State] = frozenset({"waiting", "queued", "running", "requeued"})
FINISHED: frozenset[State] = frozenset({"done", "diverged"})
IDLE: frozenset[State] = frozenset({"failed", "lost", "cancelled", "missing"})
"""States whose cells the next submit starts."""


class CellStatus(Frozen):
    """Where one cell stands.

    Attributes:
        run: its id.
        encoding, task: labels, None where the cell has no folder.
        seed: likewise.
        settings: see `distinguished`.
        state: ``waiting`` has a job that will start it once its settings are chosen; ``queued`` has a job
            that will start it; ``running`` has a live worker; ``requeued`` was stopped at a checkpoint and
            waits for its turn again; ``done`` and ``diverged`` are finished;
            ``failed`` ended with an error; ``lost`` had a worker or a job that is gone without a word;
            ``cancelled`` was stopped by a person, by Ctrl-C too; ``missing`` has never begun. The next submit
            starts the last four.
        step, steps: where training is, and where it goes.
        rate: steps a second.
        seconds_left: of training, at that rate.
        job: SLURM's number of its job.
        node: where it runs, None where that is not known.
        reason: why its job waits, in SLURM's word, as ``Priority``; None where it does not.
        detail: one sentence on what is wrong, empty if nothing is.
        log: the file to read about it, None before there is one.
    """

    run: str
    encoding: str | None = None
    task: str | None = None
    seed: int | None = None
    settings: str = ""
    state: State
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    job: str | None = None
    node: str | None = None
    reason: str | None = None
    detail: str = ""
    log: str | None = None


def statuses(runs: Path, run_ids: Iterable[str]) -> list[CellStatus]:
    """Where each of these cells stands, in the order given.

    A slot whose choice is made is the run that was chosen. A cell with a damaged file is unreadable, and
    hides no other.
    """
    ids = with_choices(runs, run_ids)
    slots = waiting_cells(runs, [cell for cell in ids if is_slot(cell)])
    known = {run_id: RunFolder(runs / run_id) for run_id in ids if run_id not in slots}
    open_cells = [run_id for run_id, folder in known.items() if not (folder.path / "result.json").exists()]
    jobs = submissions.jobs(runs, open_cells)
    found = {run_id: _readable(folder, jobs.get(run_id), runs) for run_id, folder in known.items()}
    if with_choices(runs, ids) != ids:
        # A choice was made meanwhile, and no job is known by its slots any more.
        return statuses(runs, ids)
    return [slots[cell] if cell in slots else found[cell] for cell in ids]


def distinguished(runs: Path, cells: Iterable[CellStatus]) -> list[CellStatus]:
    """Cells with the settings that tell them from others of the same encoding, task and seed."""
    found = list(cells)
    labels = Counter((cell.encoding, cell.task, cell.seed) for cell in found)
    alike = [cell.run for cell in found if cell.encoding and labels[cell.encoding, cell.task, cell.seed] > 1]
    apart = settings_apart(runs, alike)
    return [cell.model_copy(update={"settings": apart.get(cell.run, "")}) for cell in found]


def settings_apart(runs: Path, cells: Iterable[str]) -> dict[str, str]:
    """The settings that tell runs and slots from others of the same name, of those that can be read."""
    specs, unchosen = {}, {}
    for cell in cells:
        with contextlib.suppress(Unreadable):
            if is_slot(cell):
                choice = read_choice(runs, choice_of(cell)).choice
                specs[cell], unchosen[cell] = choice.spec_of(cell), choice.paths
            else:
                specs[cell] = RunFolder(runs / cell).spec()
    return told_apart(specs, unchosen)


def waiting_cells(runs: Path, slots: list[str]) -> dict[str, CellStatus]:
    """Where cells stand whose settings are not chosen yet, by slot."""
    if not slots:
        return {}
    keys = dict.fromkeys(map(choice_of, slots))
    choices: dict[str, Choice] = {}
    found: dict[str, CellStatus] = {}
    for key in keys:
        try:
            choices[key] = read_choice(runs, key).choice
        except Unreadable as error:
            found |= {
                slot: CellStatus(run=slot, state="unreadable", detail=str(error))
                for slot in slots
                if choice_of(slot) == key
            }
    trials = {
        cell.run: cell
        for cell in statuses(runs, dict.fromkeys(run for choice in choices.values() for run in choice.trials))
    }
    jobs = submissions.jobs(runs, [*slots, *keys])
    for slot in slots:
        if slot not in found:
            choice = choices[choice_of(slot)]
            own = [trials[run_id] for run_id in choice.trials]
            found[slot] = _waiting_cell(runs, slot, choice, own, jobs.get(slot), jobs.get(choice.key))
    return found


def _waiting_cell(
    runs: Path, slot: str, choice: Choice, trials: list[CellStatus], job: Job | None, chooser: Job | None
) -> CellStatus:
    spec = choice.spec_of(slot)
    over = sum(trial.state in FINISHED for trial in trials)
    detail = f"for the choice among {len(choice.candidates)} candidates: {over} of {len(trials)} trials ended"
    cell = CellStatus(
        run=slot,
        encoding=choice.encoding_of(slot),
        task=spec.task.label,
        seed=spec.seed,
        state="missing",
        detail=detail,
    )
    # In SLURM the choice has a job of its own. Without it that of the cell begins at once, and makes the
    # choice itself where all trials have ended; otherwise it ends as well.
    alone = job is None or job.submission.cluster != "slurm" or over == len(trials)
    own = [job] if alone else [job, chooser]
    if all(each is not None and each.state != "gone" for each in own):
        number = job.number if job is not None else None
        return cell.model_copy(update={"state": "waiting", "job": number})
    if over == len(trials):
        try:
            decide(runs, choice)
        except NoChoice as error:
            return cell.model_copy(update={"state": "failed", "detail": str(error)})
    ended = without_result(trials)
    if ended is not None:
        state = "failed" if ended.state == "unreadable" else ended.state
        return cell.model_copy(update={"state": state, "detail": stopped(choice, ended)})
    if job is not None and job.submission.cancelled is not None:
        return cell.model_copy(update={"state": "cancelled"})
    return cell.model_copy(update=_never_begun(slot, job, runs))


def without_result(trials: Iterable[CellStatus]) -> CellStatus | None:
    """The trial that stops a choice: one that has failed, before one that is lost or was cancelled."""
    order: tuple[State, ...] = ("failed", "unreadable", "lost", "cancelled")
    ended = [trial for trial in trials if trial.state in order]
    return min(ended, key=lambda trial: order.index(trial.state), default=None)


def stopped(choice: Choice, trial: CellStatus) -> str:
    """A sentence about the trial that stops a choice."""
    candidate = next(each for each in choice.candidates if trial.run in each.trials)
    how = f"{trial.state} ({trial.run})" + (f": {trial.detail}" if trial.detail else "")
    return f"the choice for {choice.encoding} is stopped: {candidate.label} is {how.rstrip('.')}."


def summary(cells: Iterable[CellStatus]) -> str:
    """How many cells there are in each state, as ``14 cells: 12 done, 2 running``."""
    counts = Counter(cell.state for cell in cells)
    parts = ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])
    return f"{counted(counts.total(), 'cell')}: {parts}" if parts else "no cells"


def _readable(folder: RunFolder, job: Job | None, runs: Path) -> CellStatus:
    try:
        return _status(folder, job, runs)
    except Unreadable as error:
        if not (folder.path / "spec.json").exists():
            # It was removed while it was looked at.
            return CellStatus(run=folder.run_id, state="missing")
        return CellStatus(run=folder.run_id, state="unreadable", detail=str(error))


def _status(folder: RunFolder, job: Job | None, runs: Path) -> CellStatus:
    if not (folder.path / "spec.json").exists():
        return CellStatus(run=folder.run_id, state="missing")
    spec = folder.spec()
    cell = CellStatus(
        run=folder.run_id,
        encoding=spec.encoding.label or spec.encoding.name,
        task=spec.task.label or spec.task.name,
        seed=spec.seed,
        state="missing",
        log=str(folder.log) if folder.log.exists() else None,
    )
    result, unfinished = folder.result(), {}
    if result is None:
        unfinished = _unfinished(folder, job, runs)
        # It may have finished between these looks, and its worker is gone then.
        result = folder.result()
    if result is not None:
        detail = f"diverged at step {result.diverged_at}" if result.status == "diverged" else ""
        return cell.model_copy(update={"state": result.status, "detail": detail})
    return cell.model_copy(update=unfinished)


def _unfinished(folder: RunFolder, job: Job | None, runs: Path) -> dict[str, object]:
    worker, failure = folder.worker(), folder.failure()
    progress = _progress(worker) | ({"job": job.number} if job and job.state != "gone" else {})
    if job is not None and job.state == "pending" and job.reason:
        progress["reason"] = job.reason
    # A worker that has written its failure may live on, with another cell.
    ended = failure is not None and (worker is None or worker.failed or failure.time >= worker.beat)
    if worker is not None and not ended and is_alive(worker):
        return {"state": "running", **progress, "node": worker.host}
    if folder.cancelled.exists():
        detail = f"at step {worker.step}" if worker else ""
        return {
            "state": "cancelled",
            **{k: v for k, v in progress.items() if k != "reason"},
            "detail": detail,
        }
    if job is not None and job.state == "unknown":
        return {"state": "queued", **progress, "detail": f"{job.note}, so it is taken for queued"}
    if job is not None and job.state == "pending":
        return {**_waiting(worker, ended, job), **progress}
    if job is not None and job.state == "active":
        found = _in_active_job(worker, failure, ended, job)
        if found is not None:
            return {**found, **progress}
    if failure is not None:
        return {"state": "failed", **progress, "detail": briefly(failure.message)}
    if worker is not None and worker.failed:
        detail = f"at step {worker.step}, and why could not be written down"
        return {"state": "failed", **progress, "detail": detail}
    if _is_cancelled(worker, job):
        return {"state": "cancelled", **progress, "detail": f"at step {worker.step}" if worker else ""}
    end = _ENDS.get(job.note, "") if job is not None else ""
    printed = _printed(job, runs)
    if worker is not None:
        how = "stopped" if worker.over else "ended without a word"
        detail = f"process {worker.pid} on {worker.host} {how} at step {worker.step}"
        # Who was killed has written nothing into its own log; SLURM's says so.
        told = {} if worker.over or not printed else {"log": str(printed[0])}
        return {"state": "lost", **progress, "detail": f"{detail}: its job {end}" if end else detail, **told}
    if job is not None and job.submission.job is not None:
        detail = f"its job {job.number or job.submission.job} {end or 'is gone without a word'}"
        return {
            "state": "lost",
            "detail": detail + _last_words(printed[0]) if printed else detail,
            "log": str(printed[0] if printed else job.submission.folder(runs)),
        }
    return _never_begun(folder.run_id, job, runs)


def _never_begun(cell: str, job: Job | None, runs: Path) -> dict[str, object]:
    """Of a cell that nothing has come to: missing, or lost with the worker of this machine that was to begin
    it."""
    for process in submissions.lost_workers(runs, job.submission, cell) if job is not None else ():
        assert job is not None
        logs = submissions.printed(runs, job.submission, process)
        told = next((log for log in logs if log.is_file() and _TRACEBACK in _text(log)), None)
        how = "without a word" if told is None else f"with an error{_last_words(told)}"
        log = {} if told is None else {"log": str(told)}
        return {"state": "lost", "detail": f"process {process}, which was to begin it, ended {how}", **log}
    return {"state": "missing"}


def _printed(job: Job | None, runs: Path) -> list[Path]:
    """The files of a job of SLURM that hold anything, what went wrong first."""
    if job is None or job.submission.job is None:
        return []
    logs = submissions.printed(runs, job.submission, job.number)
    return [path for path in logs if path.is_file() and path.stat().st_size]


def _is_cancelled(worker: Worker | None, job: Job | None) -> bool:
    """Whether a person stopped a cell, of which nothing runs any more."""
    if job is None or job.submission.cluster != "slurm":
        # Outside of SLURM nobody else sends signals, and who gets one says that the work is over.
        if worker is not None:
            return worker.over
        return job is not None and job.submission.cancelled is not None
    cancelled = job.submission.cancelled
    if cancelled is None or job.note in _ENDS.keys() - {"COMPLETED", "FAILED"}:
        return job.note == "CANCELLED"
    return worker is None or worker.over or worker.beat > cancelled - SILENCE


_ENDS = {
    "BOOT_FAIL": "was given a node that did not start",
    "COMPLETED": "ended before the cell did",
    "DEADLINE": "reached its deadline",
    "FAILED": "ended with an error",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory (--mem asks for more)",
    "PREEMPTED": "was preempted and not queued again",
    "TIMEOUT": "reached its time limit",
}
"""SLURM's states of ended jobs in words, after 'its job'."""


def _last_words(log: Path) -> str:
    """The line that names the last exception, as ``: OSError: No space left on device``; where there is none
    the last line that is none of SLURM's or submitit's own."""
    lines = _text(log).splitlines()[-50:]
    said = [line for line in lines if line.strip() and not line.startswith(_OF_OTHERS)]
    frames = [number for number, line in enumerate(said) if line.startswith(_FRAME)]
    below = said[frames[-1] + 1 :] if frames else []
    # The source of a frame, and marks below it, are indented further.
    raised = next((line for line in below if not line.startswith(" ")), None)
    return f": {briefly(raised or said[-1])}" if said else ""


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


_OF_OTHERS = ("submitit ", "srun: ", "slurmstepd: ")

_FRAME = '  File "'

_TRACEBACK = "Traceback (most recent call last)"


def _waiting(worker: Worker | None, ended: bool, job: Job) -> dict[str, object]:
    if worker is None or ended:
        return {"state": "queued"}
    state: State = "requeued" if worker.job == job.number and job.number is not None else "queued"
    return {"state": state, "detail": f"goes on from step {worker.step}"}


def _in_active_job(
    worker: Worker | None, failure: Failure | None, ended: bool, job: Job
) -> dict[str, object] | None:
    """Of a cell that nobody is seen to work on, though its job runs; None if that job is done with it."""
    if failure is not None and failure.time >= job.submission.time:
        return None
    # A job that was requeued may not have come to the cell again, nor may one that never had it.
    begun = job.started if job.started is not None else job.submission.time
    if worker is None or ended or worker.job != job.number or worker.beat < begun:
        again = worker is not None and not ended and worker.job == job.number and job.number is not None
        detail = f"goes on from step {worker.step}" if worker is not None and not ended else ""
        return {"state": "requeued" if again else "queued", "detail": detail}
    if worker.failed:
        return None
    if job.number is None or (worker.over and job.submission.cancelled is None):
        # It has written its checkpoint, and its job is about to be queued again.
        return {"state": "queued" if job.number is None else "requeued"}
    if worker.over:
        return None
    silent = f"{time.time() - worker.beat:.0f} seconds"
    detail = f"process {worker.pid} on {worker.host} has been silent for {silent} at step {worker.step}"
    return {"state": "lost", "detail": f"{detail}, though SLURM still counts job {job.number} as running"}


def _progress(worker: Worker | None) -> dict[str, object]:
    if worker is None:
        return {}
    left = (worker.steps - worker.step) / worker.rate if worker.rate else None
    return {"step": worker.step, "steps": worker.steps, "rate": worker.rate, "seconds_left": left}
