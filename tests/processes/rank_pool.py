"""Processes that carry runs out together, started once for many runs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from processes.warm_processes import context

from pebench.running.execution import Execution
from pebench.running.ranks import JoinedRanks
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder

Part = Callable[[JoinedRanks], Any]


class RankPool:
    """As many processes as a run may have ranks."""

    def __init__(self, size: int) -> None:
        self._processes = [ProcessPoolExecutor(1, mp_context=context()) for _ in range(size)]

    def execute(self, folder: RunFolder, execution: Execution, count: int, stop_at: int = 0) -> None:
        """Brings a run to its result on so many ranks.

        Args:
            folder, execution: see `pebench.running.run.execute`. count: of ranks.
            stop_at: the step after which the last rank is told to stop; 0 lets the run end.
        """
        self.call(_execute, count, str(folder.path), execution.model_dump_json(), stop_at)

    def call(self, part: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
        """What a function gives on each of so many ranks, which it is handed first; raises what the first of
        them raised."""
        return [future.result(timeout=120) for future in self.submit(part, count, *arguments)]

    def submit(self, part: Callable[..., Any], count: int, *arguments: Any) -> list[Future[Any]]:
        """Likewise, without a wait."""
        port = _free_port()
        return [
            process.submit(_call, part, rank, count, port, arguments)
            for rank, process in enumerate(self._processes[:count])
        ]

    def close(self) -> None:
        """Ends the processes."""
        for wait in (False, True):
            for process in self._processes:
                process.shutdown(wait, cancel_futures=True)


def _call(part: Callable[..., Any], rank: int, count: int, port: int, arguments: tuple[Any, ...]) -> Any:
    torch.set_num_threads(1)
    return part(JoinedRanks(rank, count, rank, "127.0.0.1", port, timeout=60), *arguments)


def _execute(ranks: JoinedRanks, folder: str, execution: str, stop_at: int) -> None:
    steps = iter(range(1, 1_000_000))

    def stop() -> bool:
        told = ranks.index == ranks.count - 1
        return told and next(steps) >= stop_at > 0

    # Else the first rank may have evaluated everything before the last one is told.
    observer = _Unhurried() if ranks.is_main and stop_at else None
    chosen = Execution.model_validate_json(execution)
    execute(RunFolder(Path(folder)), chosen, observer=observer, stop=stop, ranks=ranks)


class _Unhurried:
    """Gives the other ranks time before each evaluation."""

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """Goes on at once."""

    def evaluating(self, done: int, total: int, what: str) -> None:
        """Waits a little."""
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
