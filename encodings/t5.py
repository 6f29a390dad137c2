"""T5's relative bias: one learned number a head for each bucket of distances, shared by all layers."""

import math

import torch
from torch import Tensor, nn

from pebench.formulas.distance import Placed, by_distance, placed
from pebench.position_encoding import AttentionInputs, Bias, Geometry, PositionEncoding, TableInputs

BUCKETS = 32
MAX_DISTANCE = 128


class T5Encoding(PositionEncoding):
    """logit + b_h[bucket(i − j)], b drawn from N(0, 0.02).

    Causal attention has 32 buckets: exact below 16, then 16 + ⌊16·ln(n/16)/ln(128/16)⌋, at most 31.
    Bidirectional attention gives half of the buckets to each direction.
    """

    axes = (1,)
    acts = "B"
    kernels = ("blocked", "flex")
    cost = (
        "a curve of 2·N·H numbers a layer and a lookup for each of N·K·H logits, 128 queries at a time; "
        "with flex in the kernel"
    )
    claims = ("shift",)
    source = "Raffel et al. 2020, https://arxiv.org/abs/1910.10683"

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.biases = nn.Parameter(torch.randn(geometry.heads, BUCKETS) * 0.02)

    def table(self, x: TableInputs) -> Placed:
        """The positions."""
        return placed(x)

    def bias(self, x: AttentionInputs) -> Bias:
        """The bias of each pair's bucket."""
        return by_distance(lambda distance: self.biases[:, self._bucket(distance)], x.q_table, x.k_table)

    def _bucket(self, distance: Tensor) -> Tensor:
        """Bucket numbers of query minus key positions."""
        if self.geometry.causal:
            return bucket(distance.clamp(min=0), BUCKETS)
        return bucket(distance.abs(), BUCKETS // 2) + (distance < 0) * (BUCKETS // 2)


def bucket(distance: Tensor, buckets: int) -> Tensor:
    """Bucket numbers of distances that are not negative: half of them exact, the rest logarithmic up to
    128."""
    exact = buckets // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    logarithmic = exact + (ratio * (buckets - exact)).long().clamp(max=buckets - 1 - exact)
    return torch.where(distance < exact, distance, logarithmic)
