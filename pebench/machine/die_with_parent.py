"""Processes that end when the one that started them is gone, by whatever way, a kill included.

Python code calls `die_with_parent`. Any other command is run by ``python -m pebench.machine.die_with_parent``
with a process and that command behind it, in a session of its own: its whole process group is asked to end,
and killed ten seconds later.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

_LOOK_EVERY = 0.2
_GRACE = 10.0


def die_with_parent(parent: int, end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Watches the parent of this process from a thread.

    Args:
        parent: process id of the starter; one that died before this call is noticed too.
        end: called once it is gone; by default this process exits at once.
    """

    def watch() -> None:
        # An orphan is adopted by another process, so its parent's id changes.
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        end()

    threading.Thread(target=watch, daemon=True).start()


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    # A request to end is for the command; a handler, unlike "ignore", is not handed on to it.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    started = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
    die_with_parent(int(sys.argv[1]), _end_group)
    sys.exit(started.wait())
