"""MLflow's server as a process of this one."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pebench.errors import UserError
from pebench.tracking.address import artifact_folder
from pebench.tracking.guard import PARAMETER
from pebench.tracking.server_process import TOKEN

HOST = "127.0.0.1"
_PORTS = range(5000, 5050)
_REFUSED = (5060, 5061)
"""Telephones use them, and browsers open no page there."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Pages:
    """A server that answers.

    Attributes:
        process: that it is.
        port: it listens at, on `HOST`.
        token: that opens it.
    """

    process: subprocess.Popen[bytes]
    port: int
    token: str

    def address(self, page: str) -> str:
        """The address of one of its pages, which begins with ``#``."""
        return f"http://{HOST}:{self.port}/?{PARAMETER}={self.token}{page}"


@contextlib.contextmanager
def server(runs: Path, uri: str, opened: socket.socket) -> Iterator[Pages]:
    """MLflow's server over a database, answering at `HOST` who knows its token.

    It is ended when the block is left, by whatever way, a kill included.

    Args:
        runs: whose folder `.sync` the log is kept in.
        uri: the database.
        opened: where it listens, see `listening`; closed here.

    Raises:
        UserError: it does not start.
    """
    artifacts = artifact_folder(uri)
    token = secrets.token_urlsafe(32)
    command = [sys.executable, "-m", "pebench.tracking.server_process", str(os.getpid())]
    command += [str(opened.fileno()), uri, artifacts.as_uri() if artifacts is not None else ""]
    environment = {
        **os.environ,
        TOKEN: token,
        # Without these it runs a second service for jobs that nobody submits, and shares connections that it
        # then waits for.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    }
    log_file(runs).parent.mkdir(exist_ok=True)
    with log_file(runs).open("wb") as log, _ended_by_signal():
        port = opened.getsockname()[1]
        with opened:
            # In a session of its own, so that Ctrl-C reaches this process alone, which then ends it in order.
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[opened.fileno()],
            )
        pages = Pages(process, port, token)
        try:
            _wait_until_it_answers(pages, log_file(runs))
            yield pages
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


def _wait_until_it_answers(pages: Pages, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    health = urllib.request.Request(f"http://{HOST}:{pages.port}/health")
    health.add_header("Authorization", f"Bearer {pages.token}")
    while pages.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=2):
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


def listening(wanted: int | None) -> socket.socket:
    """A socket that is open at the wanted port, or at the first free one from 5000 where there is no wish.

    Raises:
        UserError: it is taken or browsers refuse it, or none is free.
    """
    if wanted in _REFUSED:
        raise UserError(f"browsers refuse port {wanted}: name another with --port, or leave it out.")
    for port in _PORTS if wanted is None else [wanted]:
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((HOST, port))
            opened.listen()
        except OSError:
            opened.close()
        else:
            return opened
    if wanted is not None:
        raise UserError(f"port {wanted} is taken: name another with --port, or leave it out.")
    raise UserError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free: name one with --port.")


def log_file(runs: Path) -> Path:
    """Where the server says what it does."""
    return runs / ".sync" / "ui.log"
