"""Swin V2's log-spaced bias: a small network reads the step between two cells, its logarithm taken first."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.distance import Cells, by_step, cells
from pebench.position_encoding import AttentionInputs, Dense, Geometry, PositionEncoding, TableInputs

STEPS_AT_ONCE = 1024
"""Steps that the network reads at a time: it makes 512 numbers of each, which the cache should hold."""


class LogSpacedBiasEncoding(PositionEncoding):
    """logit + 16·σ(f_h(δ)) with f = W₂·ReLU(W₁δ + b₁) and δ_a = sign(Δ_a)·log₂(1 + 8·|Δ_a|/(N_a − 1))/3.

    Δ = query − key, and N_a is the number of rows or columns of the trained grid.
    In mode `cr` (timm) logit + W₂·ReLU(W₁δ + b₁) + b₂ with δ_a = sign(Δ_a)·ln(1 + |Δ_a|).
    """

    axes = (2,)
    acts = "B"
    kernels = ("blocked", "flex", "shared")
    cost = (
        "H + 2 times `hidden` multiplications for each of 4·N steps, and a lookup for each of N·K·H logits, "
        "128 queries at a time; with flex in the kernel"
    )
    claims = ("shift",)
    source = "Liu et al. 2022, https://arxiv.org/abs/2111.09883"

    def __init__(
        self,
        geometry: Geometry,
        hidden: Annotated[int, Field(ge=1)] = 512,
        mode: Literal["swin", "cr"] = "swin",
        shared: bool = False,
    ) -> None:
        """
        Args:
            hidden: width of the network.
            mode: the formula.
            shared: whether all layers have the same network.
        """
        super().__init__(geometry)
        self.mode = mode
        self.functions = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, geometry.heads, bias=mode == "cr")
            )
            for _ in range(1 if shared else geometry.layers)
        )

    def table(self, x: TableInputs) -> Cells:
        """The cells."""
        return cells(x)

    def bias(self, x: AttentionInputs) -> Dense:
        """The numbers of the layer's network for every step."""
        function = self.functions[x.layer % len(self.functions)]
        weight: Tensor = function[0].weight  # type: ignore[index]
        rows, columns = (
            self._spaced(size, trained, weight)
            for size, trained in zip((x.q_table.rows, x.q_table.columns), self.geometry.extent, strict=True)
        )
        steps = torch.cartesian_prod(rows, columns)
        numbers = torch.cat([function(part) for part in steps.split(STEPS_AT_ONCE)])
        if self.mode == "swin":
            numbers = 16 * numbers.sigmoid()
        return by_step(numbers.T.unflatten(1, (len(rows), len(columns))), x.q_table, x.k_table)

    def _spaced(self, size: int, trained: int, like: Tensor) -> Tensor:
        """(2·size − 1,) the δ of the steps along an axis."""
        steps = torch.arange(1 - size, size, device=like.device, dtype=like.dtype)
        if self.mode == "cr":
            return steps.sign() * steps.abs().log1p()
        return steps.sign() * torch.log1p(8 * steps.abs() / max(trained - 1, 1)) / math.log(8)
