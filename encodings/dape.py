"""DAPE: a small network over the heads adjusts a position bias to the logits it is added to."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pebench.encodings.kerple import log_kernel
from pebench.formulas.distance import Placed, by_distance, placed
from pebench.position_encoding import (
    Adjusting,
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)

HIDDEN = 32


class DapeEncoding(PositionEncoding):
    """logit + B + f([logits, B]), with B_h = −p_h·log(1 + a_h·|i − j|) as in `kerple`.

    f is a network 2H → 32 → H with LeakyReLU that reads the logits and biases of all heads for one pair of
    tokens. Each layer has its own f, p and a, as in the published code.
    """

    axes = (1,)
    acts = "C"
    kernels = ("blocked", "adjusted")
    cost = (
        "64·H multiplications for each of N·K pairs and text, 32·H more for each pair, and the products q·k "
        "once more; memory of (3·H + 32)·K numbers a query, 128 queries at a time; of 3·H·K by the kernels "
        "for CUDA, for all queries of as many texts as have 2^28 logits"
    )
    claims = ("shift", "reversal")
    source = "Zheng et al. 2024, https://arxiv.org/abs/2405.14722"

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        heads = geometry.heads
        self.p = nn.Parameter(torch.rand(geometry.layers, heads) * 2)
        self.a = nn.Parameter(torch.rand(geometry.layers, heads))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * heads, HIDDEN), nn.LeakyReLU(), nn.Linear(HIDDEN, heads))
            for _ in range(geometry.layers)
        )

    def table(self, x: TableInputs) -> Placed:
        """The positions."""
        return placed(x)

    def bias(self, x: AttentionInputs) -> Bias:
        """The base bias and what the network makes of it."""
        p, a = self.p[x.layer], self.a[x.layer]
        base = by_distance(lambda distance: log_kernel(p, a, distance), x.q_table, x.k_table)

        def values(block: Block) -> Tensor:
            query, key = x.q[:, :, block.rows].to(p.dtype), x.k[:, :, block.keys].to(p.dtype)
            logits = query @ key.transpose(-1, -2) * self.geometry.head_dim**-0.5
            prior = base.values(block)
            return prior + self._adjusted(x.layer, logits, prior)

        along = base.by_distance
        return Dense(values, adjusting=None if along is None else self._adjusting(x.layer, along))

    def _adjusted(self, layer: int, logits: Tensor, prior: Tensor) -> Tensor:
        """(B, H, rows, keys) f([logits, prior]) of (B, H, rows, keys) logits and a (B|1, H, rows, keys) bias.

        The heads stay where they are, and what the network reads of the bias is computed once for all texts.
        """
        first, activation, last = self._network(layer)
        of_logits, of_prior = first.weight.chunk(2, dim=1)
        shared = _over_heads(of_prior, prior) + first.bias[:, None, None]
        found = _over_heads(last.weight, activation(_over_heads(of_logits, logits) + shared))
        return found + last.bias[:, None, None]

    def _adjusting(self, layer: int, prior: Tensor) -> Adjusting:
        """The same with an (H, 2N − 1) bias by distance."""
        first, activation, last = self._network(layer)
        of_logits, of_prior = first.weight.chunk(2, dim=1)

        def tables() -> tuple[Tensor, Tensor]:
            return of_prior @ prior + first.bias[:, None], prior + last.bias[:, None]

        scale = self.geometry.head_dim**-0.5
        return Adjusting(of_logits, last.weight, tables, activation.negative_slope, scale)

    def _network(self, layer: int) -> tuple[nn.Linear, nn.LeakyReLU, nn.Linear]:
        network = cast("Sequence[nn.Module]", self.networks[layer])
        return cast("tuple[nn.Linear, nn.LeakyReLU, nn.Linear]", tuple(network))


def _over_heads(weights: Tensor, x: Tensor) -> Tensor:
    """(B, O, …) products of (O, H) weights and (B, H, …) numbers of each head. As a batch of products: as one
    product PyTorch would copy the numbers, with the heads last."""
    products: Tensor = torch.bmm(weights.expand(len(x), -1, -1), x.flatten(2)).unflatten(-1, x.shape[2:])
    return products
