"""Running cells one after another in this process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pebench.errors import UserError
from pebench.running.execution import Execution
from pebench.store import Result, RunFolder
from pebench.submission.progress import Display
from pebench.submission.submissions import Submission, end


@dataclass
class Outcome:
    """What became of the cells.

    Attributes:
        finished: results by run id.
        failed: the one-line reason by run id; each run's log holds the rest.
        skipped: ids of runs that another worker holds.
        interrupted: whether the user asked to stop; what had begun has a checkpoint.
    """

    finished: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False


def carry_out(runs: Path, submission: Submission, execution: Execution, display: Display) -> Outcome:
    """Carries out what was submitted to this process; see `run_all`."""
    try:
        return run_all(runs, list(submission.cells), execution, display)
    finally:
        # On a full disk, or where the folder is gone, the end of this process says as much.
        with contextlib.suppress(OSError, UserError):
            end(runs, submission)


def run_all(runs: Path, run_ids: list[str], execution: Execution, display: Display) -> Outcome:
    """Carries out runs whose folders exist, one after another; one that fails does not stop the next.

    The first interrupt (Ctrl-C) ends the current run after its step, with a checkpoint; a second one ends it
    at once.

    Args:
        runs: the folder of the runs. run_ids: what to run, in this order.
        execution: how. display: who is told how it goes.
    """
    outcome = Outcome()
    with _Interrupt() as stop, display:
        for number, run_id in enumerate(run_ids, 1):
            if stop():
                break
            _run_one(RunFolder(runs / run_id), number, len(run_ids), execution, display, outcome, stop)
        outcome.interrupted = stop()
    return outcome


def _run_one(
    folder: RunFolder,
    number: int,
    total: int,
    execution: Execution,
    display: Display,
    outcome: Outcome,
    stop: Callable[[], bool],
) -> None:
    from pebench.running.heartbeat import AlreadyRunning
    from pebench.running.launch import execute_here

    spec = folder.spec()
    display.begin(f"{spec.encoding.label or spec.encoding.name}, seed {spec.seed}", number, total)
    try:
        result = execute_here(folder, execution, observer=display, stop=stop)
    except AlreadyRunning as error:
        outcome.skipped.append(folder.run_id)
        display.end(str(error))
    except (
        Exception
    ) as error:  # whatever it is, its log has it, and the other cells have nothing to do with it
        outcome.failed[folder.run_id] = f"{error}" or type(error).__name__
        display.end(f"failed, see {folder.log}")
    else:
        if result is not None:
            outcome.finished[folder.run_id] = result
        display.end("stopped at a checkpoint" if result is None else result.status)


class _Interrupt:
    """Whether Ctrl-C has been pressed or the process told to end; a second Ctrl-C is not waited for."""

    _signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._caught = False

    def __enter__(self) -> _Interrupt:
        self._before = [signal.signal(number, self._note) for number in self._signals]
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in zip(self._signals, self._before, strict=True):
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self._caught

    def _note(self, number: int, frame: object) -> None:
        if self._caught:
            raise KeyboardInterrupt
        self._caught = True
