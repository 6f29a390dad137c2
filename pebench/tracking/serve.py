"""MLflow's own pages over the tracking store, on this machine alone, with a sync loop behind them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from pebench.errors import UserError
from pebench.tracking.address import (
    artifact_folder,
    connect,
    create_store,
    is_server,
    tracking_uri,
    without_secrets,
)
from pebench.tracking.experiments import Experiments
from pebench.tracking.sync import sync

HOST = "127.0.0.1"
_PORTS = range(5000, 5050)
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


def serve(
    runs: Path,
    uri: str | None,
    port: int | None,
    *,
    every: float,
    announce: Callable[[str, dict[str, str]], None],
    warn: Callable[[str], None],
) -> None:
    """Shows the runs until it is interrupted, and mirrors what changes meanwhile.

    Args:
        runs: the folder of runs. uri: the tracking store, a database.
        port: of the pages; None for the first free one from 5000.
        every: seconds between passes of `pebench.tracking.sync.sync`.
        announce: told, when the pages answer, the address of all experiments and that of each sweep's table.
        warn: told what goes wrong in a pass; the next one tries again.

    Raises:
        UserError: the store is a server, the port is taken, or MLflow does not start.
    """
    address = tracking_uri(runs, uri)
    if is_server(address):
        shown = without_secrets(address)
        raise UserError(
            f"{shown} has pages of its own: open it, and keep it up to date with `pebench sync --watch 10`."
        )
    create_store(address)
    sync(runs, address)
    chosen = _free_port() if port is None else _checked(port)
    with _server(runs, address, chosen) as server:
        root = f"http://{HOST}:{chosen}/"
        tables = {name: root + page for name, page in Experiments(connect(address), address).pages().items()}
        announce(f"{root}#/experiments?workflowType=machine_learning", tables)
        while server.poll() is None:
            time.sleep(every)
            try:
                for problem in sync(runs, address).problems:
                    warn(problem)
            except UserError as error:
                warn(str(error))
    raise UserError(f"MLflow's server ended by itself: {_log(runs)} says why.")


@contextlib.contextmanager
def _server(runs: Path, uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server, answering; ended with all its processes when the block is left, by whatever way."""
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", uri]
    artifacts = artifact_folder(uri)
    if artifacts is not None:
        command += ["--no-serve-artifacts", "--default-artifact-root", artifacts.as_uri()]
    environment = {
        **os.environ,
        # Without these it runs a second service for jobs that nobody submits, and shares connections that it
        # then waits for.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    }
    with _log(runs).open("wb") as log, _ended_by_signal():
        # In a session of its own, so that Ctrl-C reaches this process alone, which then ends it in order.
        server = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_it_answers(server, port, _log(runs))
            yield server
        finally:
            _end(server)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """A polite request to end is an interruption like Ctrl-C, so that nothing is left running."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
            return
        time.sleep(0.1)
    raise UserError(f"MLflow's server does not start: {log} says why.")


def _end(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_STOP_SECONDS)
            return


def _free_port() -> int:
    found = next((port for port in _PORTS if _is_free(port)), None)
    if found is None:
        raise UserError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free: name one with --port.")
    return found


def _checked(port: int) -> int:
    if not _is_free(port):
        raise UserError(f"port {port} is taken: name another with --port, or none to have one found.")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _log(runs: Path) -> Path:
    return runs / ".sync" / "ui.log"
