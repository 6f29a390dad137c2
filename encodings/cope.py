"""CoPE: a query counts only the tokens it cares for, and looks up a vector for each count."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pebench.formulas.constants import WholeConstant, constant
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Counting,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)
from pebench.specification.options import Added

KEYS_AT_ONCE = 128
"""Keys that are counted at a time on a CPU, from the query to the left. Where every count is at its bound the
rest is not looked at."""


class CopeEncoding(PositionEncoding):
    """logit + q_i·e[p_ij], with p_ij = Σ_{t=j…i} σ(q_i·k_t), at most p_max − 1.

    Between whole numbers e is interpolated linearly. Gates and lookups take q and k as they are, without the
    1/√d of the logits. Each layer has p_max vectors e[0]…e[p_max − 1] of its own, shared by its heads, that
    start at zero.
    """

    axes = (1,)
    acts = "C"
    head_width_only = True
    causal_only = True
    kernels = ("blocked", "counted")
    cost = (
        "O(N·K·(D + H)) for the products q·k once more, their gates and sums, and N·H·p_max products with"
        " the vectors a layer, 128 queries at a time; uncompiled on a CPU, and by the kernels for CUDA, no"
        " farther than counts differ"
    )
    claims = ("shift",)
    source = "Golovneva et al. 2024, https://arxiv.org/abs/2405.18719"

    version = 2

    def __init__(
        self,
        geometry: Geometry,
        p_max: WholeConstant = 64,
        scaled_gates: Annotated[bool, Added(False)] = False,
    ) -> None:
        """
        Args:
            p_max: how many counts are told apart, from 0 on; as a number, or as a share of the trained extent
                (``12.5%``).
            scaled_gates: whether the gates take q·k/√d, as in the paper's listing, or q·k, as in its formula.
        """
        super().__init__(geometry)
        self.p_max = round(constant(p_max, geometry.extent[0]))
        if not 2 <= self.p_max <= 1_000_000:
            raise ValueError(f"'p_max' is from 2 to 1,000,000, not {self.p_max:,}")
        self.gate_scale = self.scale() if scaled_gates else 1.0
        self.vectors = nn.Parameter(torch.zeros(geometry.layers, self.p_max, geometry.head_dim))

    @classmethod
    def former_options(cls, version: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """Version 1 told p_max + 1 counts apart."""
        return dict(options) | ({"p_max": options.get("p_max", 64) + 1} if version < 2 else {})

    def table(self, x: TableInputs) -> None:
        """Nothing: positions are counted from content."""

    def bias(self, x: AttentionInputs) -> Bias:
        """The product of each query with the vector of each count."""

        # Counts are looked at where that costs nothing: a GPU would have to be waited for.
        looks = x.q.device.type == "cpu" and not torch.compiler.is_compiling()
        vectors = self.vectors[x.layer]

        def products() -> Tensor:
            # In the order of tokens, as queries lie in memory: in that of heads they would be copied.
            return (x.q.transpose(1, 2).to(vectors.dtype) @ vectors.T).transpose(1, 2)

        def values(block: Block) -> Tensor:
            query, key = x.q[:, :, block.rows].to(vectors.dtype), x.k[:, :, block.keys].to(vectors.dtype)
            products = query @ vectors.T
            found: list[Tensor] = []
            start, stop = 0, key.shape[2]
            counted: Tensor | float = 0.0
            while stop > 0:
                start = max(0, stop - KEYS_AT_ONCE) if looks else 0
                logits = query @ key[:, :, start:stop].transpose(-1, -2)
                gates = (logits * self.gate_scale).sigmoid() * block.visible[..., start:stop]
                count = counted + gates.flip(-1).cumsum(-1).flip(-1)
                found.append(_between(count.clamp(max=self.p_max - 1), products))
                counted, stop = count[..., :1], start
                if stop and bool((counted >= self.p_max - 1).all()):
                    found.append(products[..., -1:].expand(*count.shape[:-1], stop))
                    break
            return torch.cat(found[::-1], dim=-1) if len(found) > 1 else found[0]

        return Dense(values, counting=Counting(products, self.p_max, self.gate_scale))


def _between(count: Tensor, products: Tensor) -> Tensor:
    """The (B, H, rows, p_max) products at (B, H, rows, keys) counts that need not be whole."""
    below = count.detach().floor()
    share = count - below
    at_floor = products.gather(-1, below.long())
    at_ceiling = products.gather(-1, count.detach().ceil().long())
    return at_floor * (1 - share) + at_ceiling * share
