"""Processes of their own that need not import PyTorch: they are forked from one that has done so once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store import RunFolder


def context() -> ForkServerContext:
    """For pools and processes."""
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload([__name__])
    return chosen


def worker(folder: RunFolder, execution: Execution) -> ForkServerProcess:
    """A process that carries a run out, and has been started."""
    process = context().Process(target=_execute, args=(str(folder.path), execution.model_dump_json()))
    process.start()
    return process


def _execute(folder: str, execution: str) -> None:
    execute(RunFolder(Path(folder)), Execution.model_validate_json(execution))
