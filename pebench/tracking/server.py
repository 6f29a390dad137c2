"""MLflow's server as a process of this one."""

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
from collections.abc import Iterator
from pathlib import Path

from pebench.errors import UserError
from pebench.tracking.address import artifact_folder

HOST = "127.0.0.1"
_PORTS = range(5000, 5050)
_REFUSED = (5060, 5061)
"""Telephones use them, and browsers open no page there."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


@contextlib.contextmanager
def server(runs: Path, uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server over a database, answering at `HOST`.

    It is ended with all its processes when the block is left, by whatever way, a kill included.

    Args:
        runs: whose folder `.sync` the log is kept in.
        uri: the database.
        port: where it listens.

    Raises:
        UserError: it does not start.
    """
    python = [sys.executable, "-m"]
    command = [*python, "pebench.die_with_parent", str(os.getpid()), *python, "mlflow", "server"]
    command += ["--host", HOST, "--port", str(port), "--workers", "1", "--backend-store-uri", uri]
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
    log_file(runs).parent.mkdir(exist_ok=True)
    with log_file(runs).open("wb") as log, _ended_by_signal():
        # In a session of its own, so that Ctrl-C reaches this process alone, which then ends it in order.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_it_answers(process, port, log_file(runs))
            yield process
        finally:
            _end(process)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """A polite request to end is an interruption like Ctrl-C, so that nothing is left running."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
            return
        time.sleep(0.1)
    raise UserError(f"MLflow's server does not start: {log} says why.")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return


def available_port(wanted: int | None) -> int:
    """The wanted port, or the first free one from 5000 where there is no wish.

    Raises:
        UserError: it is taken or browsers refuse it, or none is free.
    """
    if wanted in _REFUSED:
        raise UserError(f"browsers refuse port {wanted}: name another with --port, or leave it out.")
    if wanted is not None and not _is_free(wanted):
        raise UserError(f"port {wanted} is taken: name another with --port, or leave it out.")
    found = wanted or next(filter(_is_free, _PORTS), None)
    if found is None:
        raise UserError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free: name one with --port.")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def log_file(runs: Path) -> Path:
    """Where the server says what it does."""
    return runs / ".sync" / "ui.log"
