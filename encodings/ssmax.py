"""Scalable-Softmax: logits grow with the logarithm of the number of keys, so that attention does not fade."""

import torch
from torch import Tensor, nn

from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class ScalableSoftmaxEncoding(PositionEncoding):
    """logit·(s_h·ln n + b_h) for a query that sees n keys, with learned s and b a layer and head.

    A position bias is added after the factor, which scales q·k alone. n counts the keys that the query does
    see: in bidirectional attention all of them, under a window those inside, padding left out.
    """

    axes = (1, 2, 3)
    acts = "T"
    cost = "N·H factors on the queries a layer"
    claims = ("shift", "reversal", "grid-row")
    source = "Nakanishi 2025, https://arxiv.org/abs/2501.19399"

    def __init__(self, geometry: Geometry, start: float = 0.43, bias: bool = False) -> None:
        """
        Args:
            start: initial s.
            bias: whether there is a b, from 0 on. It helps training and hurts longer contexts.
        """
        super().__init__(geometry)
        self.s = nn.Parameter(torch.full((geometry.layers, geometry.heads, 1), start))
        self.b = nn.Parameter(torch.zeros(geometry.layers, geometry.heads, 1)) if bias else None

    def table(self, x: TableInputs) -> None:
        """Nothing: keys are counted."""

    def temperature(self, x: AttentionInputs) -> Tensor:
        """(B|1, H, N): s·ln n + b."""
        factor = self.s[x.layer] * x.mask.keys_seen()[:, None].float().log()
        return factor if self.b is None else factor + self.b[x.layer]
