"""How Triton's kernels are launched: the sizes of their tiles, and where vectors of tokens lie."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Tile(NamedTuple):
    """How a kernel is carried out.

    Attributes:
        queries: in a tile. keys: likewise. warps: of a program. stages: of its pipeline.
    """

    queries: int
    keys: int
    warps: int
    stages: int

    def launch(self) -> dict[str, int]:
        """As arguments of a kernel."""
        return {
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
