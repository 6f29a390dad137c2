"""Peak memory of a stretch of work."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset(device: torch.device) -> None:
    """Starts a new measurement."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # 5 sets the kernel's high-water mark of this process back to what is resident now.
        _RESET.write_text("5")
    except OSError:
        return


def read(device: torch.device) -> int | None:
    """Bytes: allocated on a CUDA device, resident in this process on a CPU; None where the system does not
    tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024
