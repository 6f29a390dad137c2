"""T5's relative bias: one learned number a head for each bucket of distances, shared by all layers."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.constants import WholeConstant, constant
from pebench.formulas.distance import Placed, by_distance, placed
from pebench.position_encoding import AttentionInputs, Bias, Geometry, PositionEncoding, TableInputs
from pebench.specification.options import Added


class T5Encoding(PositionEncoding):
    """logit + b_h[bucket(i − j)], b drawn from N(0, 0.02).

    Causal attention has 32 buckets: exact below 16, then 16 + ⌊16·ln(n/16)/ln(128/16)⌋, at most 31.
    Bidirectional attention gives half of the buckets to each direction.
    """

    axes = (1,)
    acts = "B"
    kernels = ("blocked", "flex", "shared")
    cost = (
        "a curve of 2·N·H numbers a layer and a lookup for each of N·K·H logits, 128 queries at a time; "
        "with flex in the kernel"
    )
    claims = ("shift",)
    source = "Raffel et al. 2020, https://arxiv.org/abs/1910.10683"

    def __init__(
        self,
        geometry: Geometry,
        buckets: Annotated[int, Field(ge=4, le=1_000_000, multiple_of=4), Added(32)] = 32,
        max_distance: Annotated[WholeConstant, Added(128)] = 128,
        std: Annotated[float, Field(ge=0), Added(0.02)] = 0.02,
        scaled: Annotated[bool, Added(True)] = True,
    ) -> None:
        """
        Args:
            buckets: how many there are, of both directions together.
            max_distance: from where on all distances share the last bucket; as a number, or as a share of the
                trained extent (``25%``).
            std: that b is drawn with; 1/√D of the model's width in T5.
            scaled: whether q·k is divided by √d, which T5 leaves to how it draws the weights of the queries.
        """
        super().__init__(geometry)
        self.buckets = buckets
        self.max_distance = constant(max_distance, geometry.extent[0])
        exact = buckets // 2 if geometry.causal else buckets // 4
        if self.max_distance <= exact:
            raise ValueError(
                f"its first {exact} distances have a bucket each, so that 'max_distance' "
                f"{self.max_distance:g} leaves nothing for the others"
            )
        self.scaled = scaled
        self.biases = nn.Parameter(torch.randn(geometry.heads, buckets) * std)

    def scale(self) -> float:
        """1/√d, or one."""
        return super().scale() if self.scaled else 1.0

    def table(self, x: TableInputs) -> Placed:
        """The positions."""
        return placed(x)

    def bias(self, x: AttentionInputs) -> Bias:
        """The bias of each pair's bucket."""
        return by_distance(lambda distance: self.biases[:, self._bucket(distance)], x.q_table, x.k_table)

    def _bucket(self, distance: Tensor) -> Tensor:
        """Bucket numbers of query minus key positions."""
        if self.geometry.causal:
            return bucket(distance.clamp(min=0), self.buckets, self.max_distance)
        half = self.buckets // 2
        return bucket(distance.abs(), half, self.max_distance) + (distance < 0) * half


def bucket(distance: Tensor, buckets: int, max_distance: float) -> Tensor:
    """Bucket numbers of distances that are not negative: half of them exact, the rest logarithmic up to a
    distance from which on there is one."""
    exact = buckets // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    logarithmic = exact + (ratio * (buckets - exact)).long().clamp(max=buckets - 1 - exact)
    return torch.where(distance < exact, distance, logarithmic)
