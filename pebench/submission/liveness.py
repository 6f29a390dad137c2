"""Whether the process that wrote a file is still there."""

from __future__ import annotations

import socket
import time

import psutil

from pebench.store.records import Worker

SILENCE = 45.0
"""Seconds without a beat after which a worker of another host is taken for dead: nine beats, more than the
half minute for which a network file system may show an older file, and less than a minute."""

_CLOCK_SLACK = 2.0


def is_alive(worker: Worker) -> bool:
    """Whether a worker may still be writing: on this host by its process, elsewhere by its last beat."""
    if worker.over:
        return False
    if worker.host == socket.gethostname():
        return process_exists(worker.pid, worker.beat)
    return time.time() - worker.beat < SILENCE


def process_exists(pid: int, seen: float) -> bool:
    """Whether the process that bore a number at a time (seconds since the epoch) still runs on this host.

    A process that started after that time has only been given the number of one that is gone.
    """
    try:
        process = psutil.Process(pid)
        gone = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not gone and process.create_time() <= seen + _CLOCK_SLACK
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
