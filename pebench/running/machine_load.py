"""Load that a run puts on its machine: processor, memory, GPU."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from pebench.store.records import Sample

NEIGHBOURS = "gpu-neighbours"
"""How many other processes computed on the GPU."""

_MEGABYTE = 1e6


class MachineLoad:
    """Measures this process, and the GPU that it uses."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        # The first answer is always zero: the share is that of the time since the question before.
        self._process.cpu_percent()

    def sample(self) -> Sample:
        """The load now.

        Returns:
            ``cpu-percent`` of one core, on average since the last sample; ``memory-megabytes`` resident in
            the process; with CUDA in use ``gpu-percent`` and ``gpu-memory-megabytes``, of the whole device,
            and `gpu-neighbours`, left out where its driver does not tell.
        """
        import torch

        values = {
            "cpu-percent": self._process.cpu_percent(),
            "memory-megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        if torch.cuda.is_initialized():
            values |= _gpu()
        return Sample(time=time.time(), values=values)


def neighbours() -> int | None:
    """How many other processes compute on the GPU of this one; None without CUDA in use, and where its driver
    does not tell."""
    import pynvml
    import torch

    if not torch.cuda.is_initialized():
        return None
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        device = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pids = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)}
    except (pynvml.NVMLError, RuntimeError):
        return None
    # This process is one of them, under another number where the driver counts outside of a container.
    return max(len([pid for pid in pids if not _serves(pid)]) - 1, 0)


def _serves(pid: int) -> bool:
    """Whether a process only passes on what others compute."""
    with suppress(psutil.Error):
        return psutil.Process(pid).name().startswith("nvidia-cuda-mps")
    return False


def _gpu() -> dict[str, float]:
    import pynvml
    import torch

    beside = neighbours()
    values = {} if beside is None else {NEIGHBOURS: float(beside)}
    try:
        return values | {
            "gpu-percent": float(torch.cuda.utilization()),
            "gpu-memory-megabytes": torch.cuda.device_memory_used() / _MEGABYTE,
        }
    except (pynvml.NVMLError, RuntimeError):
        return values
