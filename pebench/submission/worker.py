"""The worker behind every job in SLURM and every worker in the background of this machine.

It is named by its import path and given paths and text, so that nothing live is pickled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from submitit.helpers import DelayedSubmission, TorchDistributedEnvironment

from pebench.errors import UserError
from pebench.store.run_folder import RunFolder
from pebench.submission import pack, requeue_limit, submissions, submitit_internals
from pebench.submission.alike import AlikeFirst
from pebench.submission.cells import STOPPED, carry_out_cell, run_each
from pebench.submission.chosen import chosen_cell
from pebench.submission.progress import Ends
from pebench.submission.ready import ready_first
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submissions import Submission
from pebench.submission.submitit_internals import REQUEUE_SIGNAL

if TYPE_CHECKING:
    from pebench.running.execution import Execution
    from pebench.running.ranks import JoinedRanks

_UNTIL_KILLED = 600.0
"""Seconds to wait for SLURM to end a job; it gives a preempted one its partition's GraceTime."""


class Worker:
    """Carries out cells of a submission: those of one job in SLURM, or whatever no other worker here has."""

    def __call__(self, folder: str, number: int, execution: str, device: str | None = None) -> str:
        """Works until no cell is left or a signal comes, and has the job requeued if it was the latter.

        Every task of a job calls this, and is a rank of its run.

        Args:
            folder: of the submission.
            number: of this worker, or of the job in its array, from 0.
            execution: an `Execution` as JSON.
            device: GPUs of a worker on this machine, as CUDA_VISIBLE_DEVICES names them; None for none.

        Returns:
            How it ended, for the job's log.
        """
        from pebench.running.core_shares import sharing
        from pebench.running.execution import Execution

        how = Execution.model_validate_json(execution)
        place = Path(folder)
        runs, record = place.parent.parent, submissions.read(place / "submission.json")
        if record.cluster == "local":
            # submitit hides every GPU from local jobs that ask for none by number.
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            if device is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = device
            if record.cancelled is not None:
                return STOPPED
            how = sharing(how, record.workers * how.ranks)
            return interruptible(lambda stop: _free_cells(runs, record, number, how, stop))
        folders, told = _folders(runs, record.cells_of_job(number))
        if not folders:
            return told
        ranks = _ranks_of_job()

        def work(stop: StopOnSignal) -> str:
            if record.pack == 1:
                return carry_out_cell(folders[0], how, stop, ranks)
            beside = min(record.resources.width, len(folders))
            failed = pack.carry_out(folders, record, sharing(how, beside), stop)
            return STOPPED if stop() else _ended(failed)

        return _requeued(work, folders, record, ranks)

    def checkpoint(self, *arguments: object) -> DelayedSubmission:
        """The call to make after a requeue: the same, since claims and run folders tell how much is left."""
        return DelayedSubmission(Worker(), *arguments)


def _folders(runs: Path, cells: Iterable[str]) -> tuple[list[RunFolder], str]:
    """The runs of cells whose settings are chosen, and why those of the others are not."""
    found, told = [], []
    for cell in cells:
        try:
            found.append(RunFolder(runs / chosen_cell(runs, cell)))
        except UserError as error:
            told.append(str(error))
    sentences = " ".join(dict.fromkeys(told))
    sys.stdout.write(f"{sentences}\n" if told else "")
    return found, sentences


def _free_cells(runs: Path, record: Submission, number: int, execution: Execution, stop: StopOnSignal) -> str:
    alike = AlikeFirst(runs, record.folder(runs))
    failed_before = 0

    def take(cell: str) -> str | None:
        nonlocal failed_before
        run_id = chosen_cell(runs, cell)
        if stop() or not submissions.claim(record.folder(runs), run_id, number):
            return None
        folder = RunFolder(runs / run_id)
        # A worker that starts again goes on; what failed in it is for the next submit.
        if folder.has_failed_since(record.time):
            failed_before += 1
            return None
        if folder.is_finished:
            return None
        alike.took(run_id)
        return run_id

    def order(cells: list[str]) -> Iterator[str]:
        if execution.compile:
            return ready_first(runs, cells, stop, ranking=alike.rank)
        return ready_first(runs, cells, stop)

    outcome = run_each(runs, record.cells, execution, Ends(), stop, take, order)
    sys.stdout.write("".join(f"{sentence}\n" for sentence in outcome.unchosen))
    if outcome.lost_device is not None and not outcome.interrupted:
        if not RunFolder(runs / outcome.lost_device).has_failed_since(record.time):
            # A new process would begin it again, and again.
            raise UserError(
                f"{outcome.lost_device} left the device unusable, and its failure could not be written down."
            )
        _start_again()
    return STOPPED if outcome.interrupted else _ended(failed_before + len(outcome.failed))


def _start_again() -> NoReturn:
    """Has a new program take the place of this one. It has the same number and the same parent, so the
    submission goes on with the same worker, but nothing of the device."""
    sys.stdout.write("The device is unusable to this process; the worker starts again.\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _ended(failed: int) -> str:
    return f"{failed} cells failed" if failed else "done"


def _requeued(
    work: Callable[[StopOnSignal], str],
    folders: list[RunFolder],
    record: Submission,
    ranks: JoinedRanks | None,
) -> str:
    """Does the work of a job, which is queued again no oftener than its submission allows."""
    before, limit = requeue_limit.count(), record.resources.max_requeues

    def give_up(interruptions: int) -> None:
        if ranks is None or ranks.is_main:
            requeue_limit.give_up(folders, interruptions, limit)

    def handed_on(stop: StopOnSignal) -> bool:
        if stop.caught != REQUEUE_SIGNAL or before < limit:
            return True
        give_up(before + 1)
        return False

    if before > limit:
        give_up(before)
        return "queued again too often"
    return interruptible(work, handed_on)


def interruptible(
    work: Callable[[StopOnSignal], str], handed_on: Callable[[StopOnSignal], bool] = lambda stop: True
) -> str:
    """Does the work of a job, and requeues the job if the work was stopped by a signal.

    Args:
        work: to do.
        handed_on: whether a signal that stopped it is to requeue the job.
    """
    # A forked data-loader worker inherits the handlers, and would requeue the job a second time.
    os.register_at_fork(after_in_child=pack.ignore_signals)
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
    folder = submitit_internals.folder_of_job()
    if folder is None or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return False
    try:
        return submissions.read(folder / "submission.json").cancelled is None
    except UserError:
        return False


def _requeue(stop: StopOnSignal) -> None:
    submitit_internals.remove_partial_pickle()
    try:
        stop.hand_on()
    except subprocess.CalledProcessError as error:
        # The requeue may kill the very command that asks for it; it has been heard all the same.
        if error.returncode >= 0:
            raise


def _ranks_of_job() -> JoinedRanks | None:
    """The tasks of this job as the ranks of a run, None where there is one alone."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    job = TorchDistributedEnvironment()
    if job.world_size == 1:
        return None
    from pebench.running.ranks import JoinedRanks

    attempt = f"{submitit_internals.job_number()}.{requeue_limit.count()}"
    return JoinedRanks(job.rank, job.world_size, job.local_rank, job.master_addr, job.master_port, attempt)
