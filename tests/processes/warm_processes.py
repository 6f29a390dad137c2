"""Processes of their own that need not import PyTorch: they are forked from one that has done so once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from pebench.command_line.main import main
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder


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


def command(*arguments: str, told: Path | None = None) -> ForkServerProcess:
    """A process that carries a command line out in the folder and environment of here, and has been started.

    Args:
        told: a file for what it prints, or nothing for nowhere.
    """
    here = (str(Path.cwd()), dict(os.environ), str(told or os.devnull))
    process = context().Process(target=_command, args=(arguments, *here))
    process.start()
    return process


def _command(arguments: tuple[str, ...], folder: str, environment: dict[str, str], told: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.exit(main(list(arguments)))


def _execute(folder: str, execution: str) -> None:
    execute(RunFolder(Path(folder)), Execution.model_validate_json(execution))
