"""PaTH: between query and key stands a product of Householder-like matrices, one for each token passed."""

import itertools
from collections.abc import Sequence
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.convolution import convolve
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import projection
from pebench.position_encoding import (
    AttentionInputs,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)

Positive = Annotated[int, Field(ge=1)]


class PathLayer(nn.Module):
    """The maps of a layer from its normed input to w and β, all drawn from N(0, 0.02), biases 0."""

    def __init__(self, geometry: Geometry, rank: int | None, width: int | None) -> None:
        super().__init__()
        channels = geometry.width
        sizes = [channels, channels] if rank is None else [channels, rank, channels]
        maps = [projection(*pair) for pair in itertools.pairwise(sizes)]
        self.maps = cast("Sequence[nn.Linear]", nn.ModuleList(maps))
        self.filters = nn.Parameter(torch.randn(channels, width) * 0.02) if width else None
        self.step = projection(channels, geometry.heads, bias=0.0)


class PathEncoding(PositionEncoding):
    """logit_ij = 1/√d·q_iᵀ (H_i H_{i−1} … H_{j+1}) k_j with H_s = I − β_s w_s w_sᵀ in each head.

    β = 2σ(W_β x + b) lies between 0 and 2; w is u = SiLU(conv(W_up W_down x)) at length 1, x being the
    layer's normed input and conv a causal convolution of each channel. All products at once, W having the
    rows w: Q·Kᵀ − tril(Q·Wᵀ)·X, where X solves one triangular system a head,
    (I + tril(diag(β)·W·Wᵀ, −1))·X = diag(β)·tril(W·Kᵀ, −1).
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "a triangular system of N unknowns for K keys a head, N²·K/2 multiplications and N·K numbers, and"
        " O(N·K·D) for products"
    )
    claims = ("shift",)
    source = "Yang et al. 2025, https://arxiv.org/abs/2505.16381"

    def __init__(
        self, geometry: Geometry, rank: Positive | None = 32, convolution: Positive | None = 3
    ) -> None:
        """
        Args:
            rank: of the product W_up W_down; None for one full matrix.
            convolution: tokens that the convolution spans; None for none.
        """
        super().__init__(geometry)
        layers = nn.ModuleList(PathLayer(geometry, rank, convolution) for _ in range(geometry.layers))
        self.layers = cast("Sequence[PathLayer]", layers)

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def transitions(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """w (B, H, N, d) and β (B, H, N) of the new tokens."""
        layer, u = self.layers[x.layer], x.hidden
        for linear in layer.maps:
            u = measure_for_heads(u, linear.weight, x.q)
        u = F.silu(u if layer.filters is None else convolve(u, layer.filters, x))
        u = u.unflatten(-1, (self.geometry.heads, -1)).transpose(1, 2)
        steps = measure_for_heads(x.hidden, layer.step.weight, x.q) + layer.step.bias
        return u * (u.square().sum(-1, keepdim=True) + 1e-6).rsqrt(), 2 * steps.sigmoid().transpose(1, 2)

    def bias(self, x: AttentionInputs) -> Dense:
        """What the products take away from q·k. Cached keys are kept multiplied by all matrices so far."""
        w, beta = self.transitions(x)
        count, before = x.q.shape[2], x.state.get("turned")
        keys = x.k[:, :, -count:].float()
        if before is not None:
            keys = torch.cat((before, keys), dim=2)
        met = beta[..., None] * (w @ keys.mT).tril(keys.shape[2] - count - 1)
        found = torch.linalg.solve_triangular(
            beta[..., None] * (w @ w.mT), met, upper=False, unitriangular=True
        )
        if not torch.is_grad_enabled():
            # Only without gradients is there a cache to keep it in.
            x.state["turned"] = keys - found.mT @ w

        moved = None if before is None else keys - x.k.float()

        def values(block: Block) -> Tensor:
            query = x.q[:, :, block.rows].float()
            passed = (query @ w[:, :, : block.rows.stop].mT).tril(block.rows.start)
            change: Tensor = -(passed @ found[:, :, : block.rows.stop, block.keys])
            if moved is not None:
                change = change + query @ moved[:, :, block.keys].mT
            return change * self.scale()

        return Dense(values)
