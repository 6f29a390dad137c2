"""How the cells that run at a time share the GPUs of a machine or a job."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_DEVICES = "nvidia[0-9]*"
"""Files in ``/dev`` that stand for the GPUs of a machine, by which its driver is reached."""


def devices_of(workers: int, ranks: int = 1) -> list[str | None]:
    """The value of CUDA_VISIBLE_DEVICES for each worker: the GPUs in turn, None where there are none.

    Args:
        workers: that run at a time.
        ranks: processes of each, which get a GPU each while there are enough.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        visible = [str(number) for number in range(_count())]
    else:
        visible = [name for name in chosen.split(",") if name] or [""]
    if not visible:
        return [None] * workers
    each = min(ranks, len(visible))
    turns = [
        [visible[(worker * each + rank) % len(visible)] for rank in range(each)] for worker in range(workers)
    ]
    return [",".join(turn) for turn in turns]


def _count() -> int:
    """GPUs of this machine that PyTorch sees; where there is no driver, none, and it is not asked."""
    if sys.platform == "linux" and not any(Path("/dev").glob(_DEVICES)):
        return 0
    import torch

    return torch.cuda.device_count()
