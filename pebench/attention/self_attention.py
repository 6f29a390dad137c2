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

    def __init__(
        self,
        geometry: Geometry,
        layer: int,
        key_value_heads: int | None = None,
        *,
        input_bias: bool = True,
        output_bias: bool = True,
        norm_epsilon: float | None = None,
        window: int | None = None,
        softcap: float | None = None,
    ) -> None:
        """
        Args:
            geometry: sizes, and whether attention is causal.
            layer: number of the layer, from 0.
            key_value_heads: G, heads of keys and values, which divides that of queries; None for as many.
            input_bias: whether the projections to queries, keys and values have a bias.
            output_bias: whether the projection of the output has one.
            norm_epsilon: of RMSNorm on each head of queries and keys, None for no norm.
            window: tokens that a query sees, its own counted; None for all.
            softcap: c, for logits c·tanh(x/c) before the bias; None for none.
        """
        super().__init__()
        self.geometry = geometry
        self.layer = layer
        self.window, self.softcap = window, softcap
        shared = geometry.head_dim * (key_value_heads or geometry.heads)
        self.sizes = [geometry.channels, shared, shared]
        self.input = nn.Linear(geometry.width, sum(self.sizes), bias=input_bias)
        self.output = nn.Linear(geometry.channels, geometry.width, bias=output_bias)
        self.query_norm = None if norm_epsilon is None else nn.RMSNorm(geometry.head_dim, eps=norm_epsilon)
        self.key_norm = None if norm_epsilon is None else nn.RMSNorm(geometry.head_dim, eps=norm_epsilon)
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
        q, k = _normed(q, self.query_norm), _normed(k, self.key_norm)
        out, self.kernel = here.attend(
            q,
            k,
            v,
            hidden,
            self.layer,
            self.geometry.causal,
            cache,
            window=self.window,
            softcap=self.softcap,
        )
        projected: Tensor = self.output(out.transpose(1, 2).flatten(2))
        return projected

    def _project(self, hidden: Tensor) -> Sequence[Tensor]:
        """Queries (B, N, H·d), keys and values (B, N, G·d) of all heads."""
        if not torch.compiler.is_compiling():
            parts: Sequence[Tensor] = self.input(hidden).split(self.sizes, dim=-1)
            return parts
        # Apart for the sake of the backward pass. To put the three gradients of one product side by side a
        # compiler makes one kernel, in which each number is computed in all three ways that an encoding may
        # have made of it; with rotations that took five times as long.
        weights = self.input.weight.split(self.sizes)
        biases = (None,) * 3 if self.input.bias is None else self.input.bias.split(self.sizes)
        return [F.linear(hidden, *part) for part in zip(weights, biases, strict=True)]

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self.geometry.head_dim)).transpose(1, 2)
        return heads


def _normed(x: Tensor, norm: nn.Module | None) -> Tensor:
    """Queries or keys behind their norm, which is computed in float32 or better."""
    if norm is None:
        return x
    normed: Tensor = norm(x.to(torch.promote_types(x.dtype, torch.float32)))
    return normed.to(x.dtype)
