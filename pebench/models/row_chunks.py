"""Something computed of many rows, a chunk of them at a time."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def in_chunks(part: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
    """(M, …): what a function makes of M rows, without gradients.

    All of it is written into one tensor. Small outputs that stay between large intermediate results would
    leave holes in which none of the next fits, so that each would take new memory from the system.

    Args:
        part: (m, …) of m rows of each tensor. size: rows at a time, at the most.
        tensors: (M, …), M at least 1.
    """
    found: Tensor | None = None
    place = 0
    for rows in zip(*(tensor.split(size) for tensor in tensors), strict=True):
        one = part(*rows)
        if found is None:
            found = one.new_empty((len(tensors[0]), *one.shape[1:]))
        found[place : place + len(one)] = one
        place += len(one)
    assert found is not None
    return found
