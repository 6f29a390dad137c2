"""How Triton's kernels are launched: the sizes of their tiles, and where vectors of tokens lie."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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


def rowwise(x: Tensor) -> Tensor:
    """With the channels of a token side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def strides(*tensors: Tensor) -> list[int]:
    """Of texts, heads and tokens."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]
