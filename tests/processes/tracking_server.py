"""A real MLflow server on this machine for tests, and a way to it on which things go wrong."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from pebench.tracking.mlflow_internals import create_store

Fault = Literal["500", "429", "503", "answer lost", "cut off", "slow"]


class TrackingServer:
    """`mlflow server` over an SQLite file, which keeps the artifacts as well.

    Args:
        folder: where it keeps everything.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "server.db"
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it, unless it runs, and waits until it answers."""
        if self._process is not None:
            return
        create_store(f"sqlite:///{self.file}")
        command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self.file}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        settings = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
        }
        with (self._folder / "server.log").open("ab") as log:
            # Its own way to end with this process, so that the tests do not depend on what they test.
            self._process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"no server: {(self._folder / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Kills it with all its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What its database holds."""
        connection = sqlite3.connect(self.file, timeout=20)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()


class _Way(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str, fault: Fault, every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target, self.fault, self.every = target, fault, every
        self.number = itertools.count(1)
        self.faults = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no news."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Forward(BaseHTTPRequestHandler):
    """Hands requests on; one in so many goes wrong."""

    server: _Way

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault if next(self.server.number) % self.server.every == 0 else None
        self.server.faults += fault is not None
        if fault in ("500", "429", "503"):
            self._answer(int(fault), {"Content-Type": "text/html"}, b"<html>not now</html>")
            return
        if fault == "cut off":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        answer = self._ask(body)
        if fault == "slow":
            time.sleep(0.5)
        if fault == "answer lost":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(*answer)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        request = urllib.request.Request(
            self.server.target + self.path, data=body or None, headers=headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", headers.get("Content-Type") or headers.get("content-type", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle


@contextmanager
def faulty(target: str, fault: Fault, every: int = 3) -> Iterator[_Way]:
    """A way to a server on which every so many-th request goes wrong: it is answered with an error, cut off
    before it arrives, carried out without an answer, or answered late.

    Yields:
        The way: its `uri`, and how many `faults` there were.
    """
    way = _Way(target, fault, every)
    thread = threading.Thread(target=way.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        way.shutdown()
        way.server_close()
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
