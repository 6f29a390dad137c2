"""What `torch.compile` makes, kept in one folder for all runs."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import torch

from pebench.data.cache import cache_folder, digest, unwritable


def share_compiled_kernels() -> None:
    """Lets this process find what others compiled, and others what it compiles.

    PyTorch keeps its kernels in the temporary folder, which on compute nodes is often gone with the job. Here
    they lie in pebench's cache, apart for each kind of processor and version of PyTorch: kernels for CPUs use
    all instructions of the one that they were compiled on, and nothing in their names tells. A folder that
    the user names in TORCHINDUCTOR_CACHE_DIR is taken instead.

    Raises:
        UserError: the folder cannot be made.
    """
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if named and not _is_pytorchs_own(Path(named)):
        return
    kind = digest([torch.__version__, platform.python_version(), platform.machine(), _instructions()])
    folder = cache_folder() / "compiled" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def forget_compiled() -> None:
    """Drops what earlier runs of this process compiled. Each had a form of the training step of its own,
    PyTorch bounds their number, and past the bound a step would run uncompiled with no more than a
    warning."""
    torch.compiler.reset()


def _instructions() -> list[str]:
    """What the CPU can do, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return sorted(next(found, "").split())


def _is_pytorchs_own(folder: Path) -> bool:
    """Whether it is the place that PyTorch writes into the variable itself when its compiler is imported."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
