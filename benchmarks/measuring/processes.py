"""The costs of a command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

_WATCH = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
seconds = time.perf_counter() - began
print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Spent(NamedTuple):
    """The costs of one.

    Attributes:
        seconds: by the wall clock. processor: seconds that it had a processor.
        peak_bytes: the most memory that was resident.
    """

    seconds: float
    processor: float
    peak_bytes: int


def spent(command: list[str]) -> Spent:
    """Runs a command to its end.

    A small process watches it, since Linux counts among a child's memory what its parent had when it began.

    Raises:
        CalledProcessError: it failed.
    """
    watched = [sys.executable, "-S", "-c", _WATCH, *command]
    return Spent(*json.loads(subprocess.run(watched, check=True, stdout=subprocess.PIPE).stdout))
