"""Carrying out cells in this process: one, or one after another."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pebench.errors import UserError
from pebench.notation.brevity import briefly
from pebench.running.importing import import_for_good
from pebench.specification.flat_spec import with_settings
from pebench.store.record_files import Unreadable
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder
from pebench.submission.chosen import chosen_cell
from pebench.submission.progress import Display, WhileRead
from pebench.submission.same_code import require_same_code
from pebench.submission.status import settings_apart
from pebench.submission.stop_on_signal import StopOnSignal
from pebench.submission.submissions import Submission, end

if TYPE_CHECKING:
    from pebench.running.execution import Execution, Observer, Stop
    from pebench.running.ranks import Ranks

_LOOK_EVERY = 1.0

STOPPED = "stopped"
"""Outcome of work that a signal stopped at a checkpoint."""


def without_device(run_id: str) -> str:
    """A sentence about a run whose failure took the device from this process, and what to do."""
    return (
        f"{run_id} left the device unusable to this process, so the cells after it did not begin: submit "
        "again in a new process."
    )


@dataclass
class Outcome:
    """Outcome of carrying out cells.

    Attributes:
        finished: results by run id.
        failed: the one-line reason by run id; each run's log holds the rest.
        skipped: ids of runs that another worker holds.
        unchosen: why settings were not chosen, a sentence each; the cells that need them did not begin.
        lost_device: id of the run whose failure took the device from this process; the cells after it did not
            begin.
        interrupted: whether a signal ended the work; what had begun has a checkpoint.
    """

    finished: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    unchosen: list[str] = field(default_factory=list)
    lost_device: str | None = None
    interrupted: bool = False


def execute_cell(
    folder: RunFolder,
    execution: Execution,
    stop: Stop,
    observer: Observer | None = None,
    ranks: Ranks | None = None,
) -> Result | None:
    """Carries a run out, for as long as it is not told to stop.

    Args:
        folder: of the run.
        execution: how it is carried out.
        stop: asked after every step and every evaluation.
        observer: told of progress.
        ranks: the tasks of a job that share the run; None where ranks are started on this machine.

    Returns:
        The result; None if it was stopped, and on all ranks but the first.

    Raises:
        AlreadyRunning: another worker is at it.
        UserError: the code is not what was submitted, or as `pebench.running.run.execute`.
    """
    # A process that only watches others does without torch. PyTorch imports its compiler for any training.
    import_for_good("torch", "torch._dynamo", "torch._inductor.config", "pebench.running.launch")
    from pebench.running.launch import execute_here
    from pebench.running.run import execute

    if folder.cancelled.exists():
        return None
    stop = _unless_cancelled(folder, stop)
    require_same_code(folder)
    if ranks is None:
        return execute_here(folder, execution, observer=observer, stop=stop)
    return execute(folder, execution, observer=observer, stop=stop, ranks=ranks)


def _unless_cancelled(folder: RunFolder, stop: Stop) -> Stop:
    """Stops where the cell alone was cancelled, too. It looks once a second: a step may take less than that
    look."""
    looked, cancelled = time.monotonic(), False

    def either() -> bool:
        nonlocal looked, cancelled
        if time.monotonic() - looked > _LOOK_EVERY:
            looked, cancelled = time.monotonic(), folder.cancelled.exists()
        return cancelled or stop()

    return either


def carry_out_cell(folder: RunFolder, execution: Execution, stop: Stop, ranks: Ranks | None = None) -> str:
    """Carries a run out, see `execute_cell`, and says in a word or a sentence how it ended, for a log."""
    from pebench.running.heartbeat import AlreadyRunning

    try:
        result = execute_cell(folder, execution, stop, ranks=ranks)
    except AlreadyRunning as error:
        return str(error)
    if ranks is not None and not ranks.is_main:
        return f"rank {ranks.index} has done its part"
    return STOPPED if result is None else result.status


def run_each(
    runs: Path,
    run_ids: Iterable[str],
    execution: Execution,
    display: Display,
    stop: StopOnSignal,
    take: Callable[[str], str | None] | None = None,
    order: Callable[[list[str]], Iterable[str]] = iter,
) -> Outcome:
    """Carries out runs whose folders exist, one after another; one that fails does not stop the next, unless
    it takes the device from this process, in which all others would fail too.

    Args:
        runs: the folder of the runs.
        run_ids: of the runs, in their order, and slots.
        execution: how they are carried out.
        display: told of progress.
        stop: ends the current run after its step, with a checkpoint, and starts no other.
        take: asked before each cell which run it is; None where it is not to be carried out here. By default
            every cell is.
        order: of all cells, the next of which is asked for when the one before has ended.
    """
    from pebench.running.heartbeat import AlreadyRunning

    outcome, ids = Outcome(), list(run_ids)
    apart = settings_apart(runs, ids)
    for number, cell in enumerate(order(ids), 1):
        try:
            run_id = None if stop() else take(cell) if take is not None else chosen_cell(runs, cell)
        except UserError as error:
            if str(error) not in outcome.unchosen:
                outcome.unchosen.append(str(error))
            continue
        if run_id is None:
            continue
        folder = RunFolder(runs / run_id)
        try:
            spec = folder.spec()
        except Unreadable as error:
            outcome.failed[run_id] = str(error)
            display.begin(run_id, number, len(ids))
            display.end(str(error))
            continue
        label = with_settings(spec.encoding.label or spec.encoding.name, apart.get(cell, ""))
        display.begin(f"{label}, seed {spec.seed}", number, len(ids))
        try:
            result = execute_cell(folder, execution, stop, display)
        except AlreadyRunning as error:
            outcome.skipped.append(run_id)
            display.end(str(error))
        except (
            Exception
        ) as error:  # whatever it is, its log has it, and the other cells have nothing to do with it
            from pebench.running.lost_device import is_lost
            from pebench.running.run import reason_of

            outcome.failed[run_id] = briefly(reason_of(error))
            display.end(f"failed, see {folder.log}")
            if is_lost(error):
                outcome.lost_device = run_id
                break
        else:
            if result is not None:
                outcome.finished[run_id] = result
            display.end("stopped at a checkpoint" if result is None else result.status)
    outcome.interrupted = stop()
    return outcome


def run_all(runs: Path, run_ids: list[str], execution: Execution, display: Display) -> Outcome:
    """Carries out runs in the foreground, see `run_each`.

    The first interrupt (Ctrl-C) ends the current run after its step, with a checkpoint; a second one ends it
    at once. A terminal that is closed, or the reader of a pipe that goes, is an interrupt too.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    # With `nohup` it is ignored from the start, and stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    with (
        StopOnSignal(*signals) as stop,
        WhileRead(display, lambda: stop.ask(signal.SIGPIPE)) as shown,
    ):
        return run_each(runs, run_ids, execution, shown, stop)


def carry_out(runs: Path, submission: Submission, execution: Execution, display: Display) -> Outcome:
    """Carries out what was submitted to this process, see `run_all`."""
    try:
        return run_all(runs, list(submission.cells), execution, display)
    finally:
        # On a full disk, or where the folder is gone, the end of this process says as much.
        with contextlib.suppress(OSError, UserError):
            end(runs, submission)
