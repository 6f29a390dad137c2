"""Multi-head self-attention that asks a position encoding what to do with its queries, keys and logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.attention.cache import LayerCache
from pebench.attention.encoded_positions import EncodedPositions
from pebench.attention.kernels import Kernel
from pebench.position_encoding import Geometry


class SelfAttention(nn.Module):
    """One layer of attention.

    Attributes:
        kernel: the kernel that the last forward pass used, None before the first.
    """

    def __init__(self, geometry: Geometry, layer: int, bias: bool = True) -> None:
        """
        Args:
            geometry: sizes, and whether attention is causal.
            layer: number of the layer, from 0.
            bias: whether the projections have one.
        """
        super().__init__()
        self.geometry = geometry
        self.layer = layer
        self.input = nn.Linear(geometry.width, 3 * geometry.width, bias=bias)
        self.output = nn.Linear(geometry.width, geometry.width, bias=bias)
        self.kernel: Kernel | None = None

    def forward(self, hidden: Tensor, here: EncodedPositions, cache: LayerCache | None = None) -> Tensor:
        """
        Args:
            hidden: (B, N, D) normed input of the new tokens.
            here: their positions.
            cache: takes in the new keys and values, and holds those before them.

        Returns:
            (B, N, D).
        """
        q, k, v = (self._heads(part) for part in self._project(hidden))
        out, self.kernel = here.attend(q, k, v, hidden, self.layer, self.geometry.causal, cache)
        projected: Tensor = self.output(out.transpose(1, 2).flatten(2))
        return projected

    def _project(self, hidden: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values of all heads, each (B, N, D)."""
        if not torch.compiler.is_compiling():
            joint: Tensor = self.input(hidden)
            return joint.chunk(3, dim=-1)
        # Apart for the sake of the backward pass. To put the three gradients of one product side by side a
        # compiler makes one kernel, in which each number is computed in all three ways that an encoding may
        # have made of it; with rotations that took five times as long.
        weights = self.input.weight.chunk(3)
        biases = (None,) * 3 if self.input.bias is None else self.input.bias.chunk(3)
        return [F.linear(hidden, *part) for part in zip(weights, biases, strict=True)]

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.geometry.heads, self.geometry.head_dim)).transpose(1, 2)
        return heads
