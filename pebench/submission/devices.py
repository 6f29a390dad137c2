"""How the cells that run at a time share the GPUs of a machine or a job."""

from __future__ import annotations

import os


def devices_of(workers: int) -> list[str | None]:
    """What CUDA_VISIBLE_DEVICES is to be for each worker: the GPUs in turn, None where there are none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        import torch

        visible = [str(number) for number in range(torch.cuda.device_count())]
    else:
        visible = [name for name in chosen.split(",") if name] or [""]
    return [visible[number % len(visible)] if visible else None for number in range(workers)]
