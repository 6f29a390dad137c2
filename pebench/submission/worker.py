"""What a job runs: named by its import path and given paths and text, so that nothing live is pickled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission
from submitit.helpers import TorchDistributedEnvironment

from pebench.errors import UserError
from pebench.store import RunFolder
from pebench.submission import requeue_limit, status, submissions
from pebench.submission.same_code import require_same_code

if TYPE_CHECKING:
    from pebench.running.ranks import JoinedRanks

REQUEUE_SIGNAL: signal.Signals = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
"""What submitit has SLURM send before a preemption or the time limit."""

_LOOK_EVERY = 1.0
"""Seconds between looks at a run that a cell waits for."""


_UNTIL_KILLED = 600.0
"""Seconds to wait for SLURM to end a job; it gives a preempted one its partition's GraceTime."""

STOPPED = "stopped"
"""How work ended that was told to stop, and did so at a checkpoint."""


class StopOnSignal:
    """Turns signals into a flag that training asks for after every step, and acts on them once it stopped.

    submitit's handler requeues from wherever the signal struck, which may be the middle of a step. So its
    signal is kept here until a checkpoint is written, and handed on then.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = dict.fromkeys(signals)

    def __enter__(self) -> StopOnSignal:
        for number in self._before:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.caught is not None

    def hand_on(self) -> None:
        """Calls the handler that was there before with the signal that was caught, if there was one."""
        handler = self._before.get(self.caught) if self.caught is not None else None
        if callable(handler):
            handler(self.caught, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first signal says why the job stops; a second one must not change that.
        if self.caught is None:
            self.caught = signal.Signals(number)


class CellJob:
    """One cell in a job of its own."""

    def __call__(self, folder: str, execution: str, max_requeues: int) -> str:
        """Carries the run out, and requeues the job if it was asked to stop. Every task of a job calls this,
        and is a rank of the run.

        Args:
            folder: of the run. execution: an `Execution` as JSON.
            max_requeues: how often the job may be queued again.

        Returns:
            How it ended, for the job's log.
        """
        place = Path(folder)
        return requeued(lambda stop: execute_cell(place, execution, stop), [place], max_requeues)

    def checkpoint(self, folder: str, execution: str, max_requeues: int) -> DelayedSubmission:
        """What to run after a requeue: the same, since the run's own folder holds its state."""
        return DelayedSubmission(CellJob(), folder, execution, max_requeues)


class LocalWorker:
    """One of several workers on this machine, each taking the next cell until none is left."""

    def __call__(self, folder: str, number: int, execution: str, device: str | None) -> str:
        """Carries out the cells of a submission that no other worker has taken.

        Args:
            folder: of the submission. number: of this worker, from 0.
            execution: an `Execution` as JSON.
            device: its GPU, as CUDA_VISIBLE_DEVICES names it; None where there is none.

        Returns:
            How it ended, for the worker's log.
        """
        # submitit hides every GPU from local jobs that ask for none by number.
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        return interruptible(lambda stop: _execute_all(Path(folder), number, execution, stop))

    def checkpoint(self, folder: str, number: int, execution: str, device: str | None) -> DelayedSubmission:
        """What to run after a requeue: the same, for the claims tell what is this worker's."""
        return DelayedSubmission(LocalWorker(), folder, number, execution, device)


def requeued(work: Callable[[StopOnSignal], str], folders: list[Path], limit: int) -> str:
    """Does the work of a job, and requeues the job if the work was stopped by a signal, within a limit.

    Args:
        work: to do. folders: of the runs that it is about. limit: how often the job may be queued again.
    """
    ranks, before = _ranks_of_job(), requeue_limit.count()
    is_main = ranks is None or ranks.is_main
    if before > limit:
        if is_main:
            requeue_limit.give_up(folders, before, limit)
        return "queued again too often"

    def handed_on(stop: StopOnSignal) -> bool:
        if stop.caught != REQUEUE_SIGNAL or before < limit:
            return True
        if is_main:
            requeue_limit.give_up(folders, before + 1, limit)
        return False

    return interruptible(work, handed_on)


def interruptible(
    work: Callable[[StopOnSignal], str], handed_on: Callable[[StopOnSignal], bool] = lambda stop: True
) -> str:
    """Does the work of a job, and requeues the job if the work was stopped by a signal.

    Args:
        work: to do. handed_on: whether a signal that stopped it is to requeue the job.
    """
    # A forked data-loader worker inherits the handlers, and would requeue the job a second time.
    os.register_at_fork(after_in_child=ignore_signals)
    with StopOnSignal(REQUEUE_SIGNAL, signal.SIGTERM) as stop:
        outcome = work(stop)
        if stop.caught == signal.SIGTERM and outcome == STOPPED and _may_be_queued_again():
            # What SLURM does to a job that it preempts without a signal of its own: it ends the job after a
            # while and queues it again, but not if the job ends by itself.
            time.sleep(_UNTIL_KILLED)
        elif stop() and handed_on(stop):
            _requeue(stop)
    return outcome


def _may_be_queued_again() -> bool:
    folder = os.environ.get("SUBMITIT_FOLDER")
    if folder is None or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return False
    try:
        return submissions.read(Path(folder) / "submission.json").cancelled is None
    except UserError:
        return False


def ignore_signals() -> None:
    """For a forked child: the signals of a job are its parent's business."""
    for number in (REQUEUE_SIGNAL, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == REQUEUE_SIGNAL else signal.SIG_DFL)


def _requeue(stop: StopOnSignal) -> None:
    if "SUBMITIT_FOLDER" in os.environ:
        # submitit refuses to write where an attempt that was killed in the midst of it left a part.
        pickle = JobEnvironment().paths.submitted_pickle
        pickle.with_name(f"{pickle.name}.save_tmp").unlink(missing_ok=True)
    try:
        stop.hand_on()
    except subprocess.CalledProcessError as error:
        # The requeue may kill the very command that asks for it; it has been heard all the same.
        if error.returncode >= 0:
            raise


def _execute_all(folder: Path, number: int, execution: str, stop: StopOnSignal) -> str:
    record = submissions.read(folder / "submission.json")
    runs = folder.parent.parent
    failed = 0
    for run_id in record.cells:
        _await_start(runs, run_id, stop)
        if stop():
            return STOPPED
        if submissions.claim(folder, run_id, number):
            try:
                sys.stdout.write(f"{run_id}: {execute_cell(runs / run_id, execution, stop)}\n")
            except (
                Exception
            ) as error:  # the run's folder tells of it; the other cells have nothing to do with it
                sys.stdout.write(f"{run_id}: failed: {error}\n")
                failed += 1
    return f"{failed} cells failed" if failed else "done"


def _await_start(runs: Path, run_id: str, stop: StopOnSignal) -> None:
    """Waits while the run that a cell starts from is in the hands of another worker; none comes before its
    start, so there is always one that works."""
    start = RunFolder(runs / run_id).spec().start
    while start is not None and not stop():
        (cell,) = status.statuses(runs, [start.run])
        if cell.state not in status.BUSY:
            return
        time.sleep(_LOOK_EVERY)


def execute_cell(folder: Path, execution: str, stop: StopOnSignal) -> str:
    """Carries a run out, for as long as it is not told to stop.

    Returns:
        How it ended, for a log.
    """
    # A process that only watches others does without torch.
    from pebench.running.execution import Execution
    from pebench.running.heartbeat import AlreadyRunning
    from pebench.running.launch import execute_here
    from pebench.running.run import execute

    require_same_code(RunFolder(folder))
    how, ranks = Execution.model_validate_json(execution), _ranks_of_job()
    try:
        if ranks is None:
            result = execute_here(RunFolder(folder), how, stop=stop)
        else:
            result = execute(RunFolder(folder), how, stop=stop, ranks=ranks)
            if not ranks.is_main:
                return f"rank {ranks.index} has done its part"
    except AlreadyRunning as error:
        return str(error)
    return STOPPED if result is None else result.status


def _ranks_of_job() -> JoinedRanks | None:
    """The tasks of this job as the ranks of a run, None where there is one alone."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    job = TorchDistributedEnvironment()
    if job.world_size == 1:
        return None
    from pebench.running.ranks import JoinedRanks

    attempt = f"{JobEnvironment().job_id}.{requeue_limit.count()}"
    return JoinedRanks(job.rank, job.world_size, job.local_rank, job.master_addr, job.master_port, attempt)
