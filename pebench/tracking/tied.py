"""Runs a command for no longer than whoever started it lives: `python -m pebench.tracking.tied COMMAND…`.

The starter holds the other end of standard input, which the system closes however the starter ends. The
command and its processes are then asked to end, and made to soon after. Start it in a session of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

_SECONDS = 10.0


def run_tied(command: list[str]) -> int:
    """Runs the command, and returns its exit status."""
    # A request to end is for the command; a handler, unlike "ignore", is not handed on to it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return process.wait()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run_tied(sys.argv[1:]))
