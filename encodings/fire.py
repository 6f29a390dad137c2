"""FIRE: a small network reads the distance, relative to how far the query stands from the start."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pebench.formulas.constants import Constant, constant
from pebench.formulas.distance import Placed, by_distance, placed
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)
from pebench.specification.options import Added

HIDDEN = 32
EPSILON = 1e-6

ROWS_AT_ONCE = 16
"""Queries that the network reads at a time on a CPU: it makes 32 numbers of each pair, which the cache should
hold. A GPU and a compiler take all queries of a block."""


class FireEncoding(PositionEncoding):
    """logit + f(ψ(i − j) / (ψ(max(T, i)) + ε)), with ψ(x) = log(|c·x| + 1) and f a network 1 → 32 → H with
    ReLU.

    c starts at 0.1; T is `threshold` times a learned multiplier that starts at 1. Each layer has its own f, c
    and T; with `shared` all layers have one (the paper's FIRE-S). Causal alone: only then does the argument
    of f stay within 0 and 1, which is what lets f go past the trained extent.
    """

    axes = (1,)
    acts = "B"
    causal_only = True
    kernels = ("blocked", "shared")
    cost = (
        "32·(1 + H) multiplications for each of N·K pairs and memory of 64·K numbers a query, 128 queries at "
        "a time; uncompiled on a CPU 16, and up to the threshold a curve of 2·N·H numbers a layer and a "
        "lookup for each of N·K·H logits"
    )
    source = "Li et al. 2024, https://arxiv.org/abs/2310.04418"

    def __init__(
        self,
        geometry: Geometry,
        shared: bool = False,
        threshold: Annotated[Constant, Added(512.0)] = 512.0,
    ) -> None:
        """
        Args:
            shared: whether all layers have the same function.
            threshold: T at the start; as a number, or as a share of the trained extent (``25%``).
        """
        super().__init__(geometry)
        count = 1 if shared else geometry.layers
        begin = constant(threshold, geometry.extent[0])
        self.functions = nn.ModuleList(Interpolation(geometry.heads, begin) for _ in range(count))

    def table(self, x: TableInputs) -> Placed:
        """The positions."""
        return placed(x)

    def bias(self, x: AttentionInputs) -> Bias:
        """The function of the layer."""
        function = self.functions[x.layer % len(self.functions)]
        threshold: Tensor = function.threshold()  # type: ignore[operator]
        # A learned number is looked at where that costs nothing: a GPU would have to be waited for.
        looks = x.q.device.type == "cpu" and not torch.compiler.is_compiling()
        near = None
        if looks:
            near = by_distance(lambda distance: function(distance, threshold).T, x.q_table, x.k_table)

        def values(block: Block) -> Tensor:
            query, key = x.q_table.positions[:, block.rows], x.k_table.positions[:, block.keys]
            if near is not None and bool((query <= threshold).all()):
                # Up to the threshold the distance is all that matters.
                return near.values(block)
            parts = [
                function(rows - key.transpose(1, 2), torch.maximum(threshold, rows.float()))
                for rows in query.split(ROWS_AT_ONCE if looks else query.shape[1], dim=1)
            ]
            return torch.cat(parts, dim=1).movedim(-1, 1)

        shared = len(x.q_table.positions) == len(x.k_table.positions) == 1
        return Dense(values, shared=shared)


class Interpolation(nn.Module):
    """f(ψ(distance) / (ψ(reach) + ε)) of one layer."""

    def __init__(self, heads: int, threshold: float) -> None:
        super().__init__()
        self.begin = threshold
        self.network = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, heads))
        self.c = nn.Parameter(torch.tensor(0.1))
        self.multiplier = nn.Parameter(torch.tensor(1.0))

    def threshold(self) -> Tensor:
        """T, a scalar that is not negative."""
        return (self.multiplier * self.begin).abs()

    def forward(self, distance: Tensor, reach: Tensor) -> Tensor:
        """(…, H) float32 for (…) distances i − j and max(T, i), broadcastable to them."""
        relative = self._amplified(distance) / (self._amplified(reach) + EPSILON)
        found: Tensor = self.network(relative[..., None])
        return found

    def _amplified(self, x: Tensor) -> Tensor:
        """ψ: spreads what is near, draws together what is far."""
        return torch.log1p((self.c * x).abs())
