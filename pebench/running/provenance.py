"""Where a number comes from: code, packages, machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

import pebench
from pebench.running import source_code


def describe(device: torch.device) -> dict[str, Any]:
    """Code, packages and machine, as a JSON object."""
    head, dirty = source_code.commit()
    return {
        "pebench": pebench.__version__,
        "commit": head,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": source_code.packages(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
        },
        "device": device_name(device),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
    }


def device_name(device: torch.device) -> str:
    """The model of a GPU, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
