"""KERPLE: a bias that falls with the distance along a learned curve, logarithmic or a power, in each head."""

from typing import Literal

import torch
from torch import Tensor, nn

from pebench.formulas.distance import Placed, by_distance, placed
from pebench.position_encoding import AttentionInputs, Bias, Geometry, PositionEncoding, TableInputs

SMALLEST = 0.01
"""Bound below every p and a."""

LARGEST_POWER = 2.0
"""Above this power |i − j|^p is no kernel any more."""


class KerpleEncoding(PositionEncoding):
    """logit − p_h·log(1 + a_h·|i − j|), or with `kind: power` logit − a_h·|i − j|^p_h, p_h ≤ 2.

    Drawn from p ~ U(0, 2) and a ~ U(0, 1), kept at 0.01 or above, shared by all layers.
    """

    axes = (1,)
    acts = "B"
    kernels = ("blocked", "flex", "shared")
    cost = (
        "a curve of 2·N·H numbers a layer and a lookup for each of N·K·H logits, 128 queries at a time; "
        "with flex in the kernel"
    )
    claims = ("shift", "reversal")
    source = "Chi et al. 2022, https://arxiv.org/abs/2205.09921"

    def __init__(self, geometry: Geometry, kind: Literal["log", "power"] = "log") -> None:
        """
        Args:
            kind: of the curve.
        """
        super().__init__(geometry)
        self.kind = kind
        self.p = nn.Parameter(torch.rand(geometry.heads) * 2)
        self.a = nn.Parameter(torch.rand(geometry.heads))

    def table(self, x: TableInputs) -> Placed:
        """The positions."""
        return placed(x)

    def bias(self, x: AttentionInputs) -> Bias:
        """The curve at each pair's distance."""
        curve = self._power if self.kind == "power" else self._log
        return by_distance(curve, x.q_table, x.k_table)

    def _log(self, distance: Tensor) -> Tensor:
        return log_kernel(self.p, self.a, distance)

    def _power(self, distance: Tensor) -> Tensor:
        p, a = bounded(self.p, SMALLEST, LARGEST_POWER), bounded(self.a, SMALLEST)
        return -a[:, None] * distance.abs().float() ** p[:, None]


def log_kernel(p: Tensor, a: Tensor, distance: Tensor) -> Tensor:
    """(H, R) values of −p·log(1 + a·|distance|) for (H,) parameters and (R,) distances."""
    p, a = bounded(p, SMALLEST), bounded(a, SMALLEST)
    return -p[:, None] * torch.log1p(a[:, None] * distance.abs().float())


def bounded(parameter: Tensor, low: float, high: float | None = None) -> Tensor:
    """The parameter within its bounds; the gradient passes, so that one held at a bound can come back."""
    within = parameter.clamp(low, high).detach()
    return within + (parameter - parameter.detach())
