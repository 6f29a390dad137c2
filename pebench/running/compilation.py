"""How functions are compiled, and where what `torch.compile` makes is kept for all runs."""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import torch
import torch._functorch.config
from torch import Tensor

from pebench.data.cache import cache_folder, digest, unwritable

P = ParamSpec("P")

EXACT_BITS = 256
"""Of the vectors in kernels for x86. With 512 those that transpose bfloat16 numbers return others, compiled
by GCC 12.2 from what PyTorch 2.13 writes."""

MOST_READS = 5
"""Tensors that a value may be made of to be made again by each of its readers, and not stored. A layer's
input goes into four products, of which one is an encoding's own; their gradients and the scale of the norm
are five, and to store their sum took as long as to compute it."""

MOST_FORMS = 256
"""Compiled forms of one function that are kept: a block has one for each layer where an encoding does
something else in each. Past PyTorch's own bound of 8 a step would run uncompiled, with no more than a
warning."""

AUTOCAST = ("torch.amp.autocast_mode._enter_autocast", "torch.amp.autocast_mode._exit_autocast")
"""What `torch.autocast` is in a traced function. Where they are PyTorch derives the gradients anew in each
process, which takes half of a first step, though all that they do stands in the graph that it looks up."""


_BEING_WRITTEN = 600.0
"""Seconds that a compiler may take for one library."""

_ELF_64 = b"\x7fELF\x02\x01"
_ELF_HEADER = 64


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
    _drop_cut_off(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def _drop_cut_off(folder: Path, now: float | None = None) -> None:
    """Drops libraries that a compiler did not write to their end, because it was killed or the disk was full:
    PyTorch takes them for whole, and every later run that needs one of them fails.

    Args:
        folder: of the compiled kernels. now: in seconds since 1970; what is younger than `_BEING_WRITTEN` may
            be in the hands of a compiler.
    """
    now = time.time() if now is None else now
    for library in folder.rglob("*.so"):
        with contextlib.suppress(OSError):
            if now - library.stat().st_mtime > _BEING_WRITTEN and not _is_whole(library):
                library.unlink()


def _is_whole(library: Path) -> bool:
    """Whether the table at the end of an ELF file of 64 bits is there; other files are taken for whole."""
    with library.open("rb") as file:
        head = file.read(_ELF_HEADER)
    if not head:
        return False
    if not _ELF_64.startswith(head[: len(_ELF_64)]):
        return True
    if len(head) < _ELF_HEADER:
        return False
    (table,) = struct.unpack_from("<Q", head, 0x28)
    size, count = struct.unpack_from("<HH", head, 0x3A)
    return bool(table) and table + size * count <= library.stat().st_size


def compile_whole(
    function: Callable[P, Tensor], backend: str | Callable[..., Any] = "inductor", graphs: bool = False
) -> Callable[P, Tensor]:
    """A function compiled for the lengths that it is called with, whose gradients are computed as uncompiled.

    Training goes back outside of autocast, where products of float32 are of float32. Left to itself a
    compiler goes back under the autocast that it met on the way forward, and rounds their factors to
    bfloat16.

    Args:
        function: has tensors for arguments and result.
        backend: of `torch.compile`, by its name or itself.
        graphs: whether its kernels are recorded as CUDA graphs, and replayed: a host takes longer to launch
            those of a small model one by one than a GPU to compute them. What the function returned in one
            step is overwritten in the next, which `begin_step` announces.
    """
    # Takes half a second to import, which a run that is not compiled need not wait for.
    import torch._inductor.config as inductor

    torch._functorch.config.backward_pass_autocast = "off"
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_FORMS)
    if platform.machine() in ("x86_64", "AMD64"):
        inductor.cpp.simdlen = EXACT_BITS
    inductor.realize_reads_threshold = MOST_READS
    inductor.unsafe_marked_cacheable_functions = {
        **inductor.unsafe_marked_cacheable_functions,
        **dict.fromkeys(AUTOCAST, torch.__version__),
    }
    # What a function keeps for its next call is not kept in a compiled one, which computes it once anyway.
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`", UserWarning)
    # The compiler looks for gradients of what a function is given, and is warned where that was computed.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    mode = "reduce-overhead" if graphs else None
    return torch.compile(function, dynamic=False, backend=backend, mode=mode)


def begin_step() -> None:
    """Says that results of compiled functions that are replayed from CUDA graphs are needed no more. In one
    step there may be any number of calls, forwards and back, in any order: before the very first as well,
    since PyTorch otherwise takes each call after a backward pass for a new step."""
    torch.compiler.cudagraph_mark_step_begin()


def compile_for(group: str) -> None:
    """Drops what earlier runs of this process compiled, unless they differ from the next in the seed alone.

    Each kind of run has a form of the training step of its own, PyTorch bounds their number, and past the
    bound a step would run uncompiled with no more than a warning.

    Args:
        group: of the next run, see `RunSpec.group`.
    """
    global _compiled_for
    if _compiled_for != group:
        torch.compiler.reset()
    _compiled_for = group


_compiled_for: str | None = None
"""The group of the last run that this process compiled."""


def _instructions() -> list[str]:
    """Instruction sets of the CPU, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    found = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return sorted(next(found, "").split())


def _is_pytorchs_own(folder: Path) -> bool:
    """Whether it is the place that PyTorch writes into the variable itself when its compiler is imported."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
