"""How Triton's kernels are launched: the sizes of their tiles, and where vectors of tokens lie."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

ROUND = 128
"""Queries and keys that the sides of all tiles divide."""


class Tile(NamedTuple):
    """How a kernel is carried out.

    Attributes:
        queries: in a tile. keys: likewise. warps: of a program. stages: of its pipeline.
        registers: of a thread at the most, so that more programs share a multiprocessor; by default as many
            as the compiler takes.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    registers: int | None = None

    def launch(self) -> dict[str, int]:
        """As arguments of a kernel."""
        bound = {} if self.registers is None else {"maxnreg": self.registers}
        return bound | {
            "QUERIES": self.queries,
            "KEYS": self.keys,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


def by_head(x: Tensor, size: int) -> tuple[int, int]:
    """The programs of a kernel that takes so many tokens of one head at a time."""
    return triton.cdiv(x.shape[2], size), x.shape[0] * x.shape[1]


def rowwise(x: Tensor) -> Tensor:
    """With the channels of a token side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def strides(*tensors: Tensor) -> list[int]:
    """Of texts, heads and tokens."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def widths(x: Tensor) -> dict[str, int]:
    """The channels of a head, and the power of two that holds them, as arguments of a kernel."""
    return {"D": x.shape[3], "WIDTH": triton.next_power_of_2(x.shape[3])}


def compiled_for(q: Tensor) -> dict[str, Any]:
    """What every kernel that takes one head is compiled for beside its tile, as arguments of it."""
    return widths(q) | {
        "EVEN": rounded_up(q.shape[2]) == q.shape[2],
        "PRECISION": "tf32x3" if q.dtype == torch.float32 else "ieee",
    }


def rounded_up(length: int) -> int:
    """So many tokens, filled up to whole tiles of any size."""
    return -(-length // ROUND) * ROUND
