"""Load that a run puts on its machine: processor, memory, GPU."""

from __future__ import annotations

import time

import psutil

from pebench.store import Sample

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
            left out where its driver does not tell.
        """
        import torch

        values = {
            "cpu-percent": self._process.cpu_percent(),
            "memory-megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        if torch.cuda.is_initialized():
            values |= _gpu()
        return Sample(time=time.time(), values=values)


def _gpu() -> dict[str, float]:
    import pynvml
    import torch

    try:
        return {
            "gpu-percent": float(torch.cuda.utilization()),
            "gpu-memory-megabytes": torch.cuda.device_memory_used() / _MEGABYTE,
        }
    except (pynvml.NVMLError, RuntimeError):
        return {}
