"""`python -m pebench`, and the command `pebench`."""

import atexit
import os
import sys
from contextlib import suppress


def run() -> None:
    """The command line as a process of its own.

    Once all threads and all functions registered for the end are through, the process leaves as it is. Python
    would take apart what was imported, which takes a third of a second where PyTorch was.
    """
    status: int | None = None

    def leave() -> None:
        # An error, or output that nobody takes, is told of in Python's own way.
        if status is not None:
            with suppress(OSError, ValueError):
                for stream in filter(None, (sys.stdout, sys.stderr)):
                    stream.flush()
                os._exit(status)

    # The first that is registered is the last that is called.
    atexit.register(leave)
    from pebench.command_line.main import main

    status = main()
    sys.exit(status)


if __name__ == "__main__":
    run()
