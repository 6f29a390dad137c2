"""CoPE: a query counts only the tokens it cares for, and looks up a vector for each count."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)


class CopeEncoding(PositionEncoding):
    """logit + q_i·e[p_ij], with p_ij = Σ_{t=j…i} σ(q_i·k_t), at most p_max.

    Between whole numbers e is interpolated linearly. Gates and lookups take q and k as they are, without the
    1/√d of the logits. Each layer has vectors e[0]…e[p_max] of its own, shared by its heads, that start at
    zero.
    """

    axes = (1,)
    acts = "C"
    head_width_only = True
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "O(N·K·(D + H)) for the products q·k once more, their gates and sums, and N·H·p_max products with"
        " the vectors a layer, 128 queries at a time"
    )
    claims = ("shift",)
    source = "Golovneva et al. 2024, https://arxiv.org/abs/2405.18719"

    def __init__(self, geometry: Geometry, p_max: Annotated[int, Field(ge=1, le=1_000_000)] = 64) -> None:
        """
        Args:
            p_max: the largest count that is told apart.
        """
        super().__init__(geometry)
        self.p_max = p_max
        self.vectors = nn.Parameter(torch.zeros(geometry.layers, p_max + 1, geometry.head_dim))

    def table(self, x: TableInputs) -> None:
        """Nothing: positions are counted from content."""

    def bias(self, x: AttentionInputs) -> Bias:
        """The product of each query with the vector of each count."""

        def values(block: Block) -> Tensor:
            query, key = x.q[:, :, block.rows].float(), x.k[:, :, block.keys].float()
            gates = (query @ key.transpose(-1, -2)).sigmoid() * block.visible
            count = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.p_max)
            products = query @ self.vectors[x.layer].T
            below = count.detach().floor()
            share = count - below
            at_floor = products.gather(-1, below.long())
            at_ceiling = products.gather(-1, count.detach().ceil().long())
            return at_floor * (1 - share) + at_ceiling * share

        return Dense(values)
