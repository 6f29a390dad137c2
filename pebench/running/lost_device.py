"""Whether a failure has taken the device from this process for good."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pebench.running.ranks import RankLost


def is_lost(error: BaseException) -> bool:
    """Whether this process can use its device no more, as after an illegal access to memory or an assertion
    in a kernel: CUDA lets every later call of the process fail, whatever run it is for.

    Memory that ran out is no such failure.

    Args:
        error: that ended a run here.
    """
    causes = list(_with_causes(error))
    if any(isinstance(each, torch.AcceleratorError) for each in causes):
        return True
    # A sum with a rank that is gone may stay on the device for ever, and asking waits for it.
    if not torch.cuda.is_initialized() or any(isinstance(each, RankLost) for each in causes):
        return False
    # Triton and the libraries of CUDA have errors of their own, so the device itself is asked.
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    found: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in found:
            found.add(id(each))
            left += (each.__cause__, each.__context__)
            yield each
