"""Runs that take their time until a test has done to them what it wants, however quick the machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specimens.tiny_sweeps import load

from pebench.store.run_folder import RunFolder
from pebench.sweeping.sweep import Sweep

STEPS = 150

_SLOWLY = "slowly"

_ENCODING = '''\
"""RoPE, of which each step takes a fifth of a second more as long as a file is there."""

import time
from pathlib import Path

from pebench.plugins.registry import encodings


class SlowEncoding(encodings.load("rope")):
    def table(self, x):
        if Path({file!r}).exists():
            time.sleep(0.2)
        return super().table(x)
'''


def slow(place: Path, **changes: Any) -> Sweep:
    """A sweep of one run that takes half a minute, or a second or two once it is hastened."""
    return load(place, **slow_sweep(place, **changes))


def slow_sweep(place: Path, **changes: Any) -> dict[str, Any]:
    """What makes a tiny sweep a slow one."""
    (place / "slow.py").write_text(_ENCODING.format(file=str(place / _SLOWLY)), "utf-8")
    (place / _SLOWLY).touch()
    return {
        "encodings": ["slow"],
        "plugins": ["slow.py"],
        "train": {"steps": STEPS, "batch": 2},
        "execution": {"device": "cpu", "threads": 1, "log_every": 1},
        **changes,
    }


def hasten(place: Path) -> None:
    """Lets the runs of a place go on as fast as they can."""
    (place / _SLOWLY).unlink()


def is_under_way(folder: RunFolder) -> bool:
    """Whether a run is being trained and has been for some steps."""
    worker = folder.worker()
    return folder.metrics.exists() and worker is not None and sum(1 for _ in folder.points()) > 5
