"""PaTH: between query and key stands a product of Householder-like matrices, one for each token passed."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.convolution import convolve
from pebench.formulas.householder import householder_changes
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.position_encoding import AttentionInputs, Dense, Geometry, PositionEncoding, TableInputs

Positive = Annotated[int, Field(ge=1)]


class PathLayer(nn.Module):
    """The maps of a layer from its normed input to w and β, all drawn from N(0, 0.02), biases 0."""

    def __init__(self, geometry: Geometry, rank: int | None, width: int | None) -> None:
        super().__init__()
        inputs, channels = geometry.width, geometry.channels
        sizes = [(inputs, channels)] if rank is None else [(inputs, rank), (rank, channels)]
        self.maps = nn.ModuleList(projection(*size) for size in sizes)
        self.filters = nn.Parameter(torch.randn(channels, width) * 0.02) if width else None
        self.step = projection(geometry.width, geometry.heads, bias=0.0)


class PathEncoding(PositionEncoding):
    """logit_ij = 1/√d·q_iᵀ (H_i H_{i−1} … H_{j+1}) k_j with H_s = I − β_s w_s w_sᵀ in each head.

    β = 2σ(W_β x + b) lies between 0 and 2; w is u = SiLU(conv(W_up W_down x)) at length 1, x being the
    layer's normed input and conv a causal convolution of each channel. The products of a run of tokens are
    Q·Kᵀ − tril(Q·Wᵀ)·X, with the rows w in W and X from one triangular system a head,
    (I + tril(diag(β)·W·Wᵀ, −1))·X = diag(β)·tril(W·Kᵀ, −1). For the runs behind, K becomes K − Xᵀ·W.
    """

    axes = (1,)
    acts = "C"
    head_width_only = True
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "O(N·K·(D + 64·H)) for products and triangular systems, 64 tokens at a time; N·K numbers a head, in"
        " training N·K·(1 + d/64) more"
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
        self.layers = each(geometry.layers, lambda: PathLayer(geometry, rank, convolution))

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def transitions(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """w (B, H, N, d) and β (B, H, N) of the new tokens."""
        layer, u = self.layers[x.layer], x.hidden
        for linear in layer.maps:
            u = measure_for_heads(u, linear.get_parameter("weight"), x.q)
        u = F.silu(u if layer.filters is None else convolve(u, layer.filters, x))
        u = u.unflatten(-1, (self.geometry.heads, -1)).transpose(1, 2)
        steps = measure_for_heads(x.hidden, layer.step.weight, x.q) + layer.step.bias
        return u * (u.square().sum(-1, keepdim=True) + 1e-6).rsqrt(), 2 * steps.sigmoid().transpose(1, 2)

    def bias(self, x: AttentionInputs) -> Dense:
        """The products less q·k. The state keeps the keys as all tokens so far have multiplied them."""
        w, beta = self.transitions(x)
        turned = x.state.get("turned", x.k[:, :, :0].to(w.dtype))
        changes, x.state["turned"] = householder_changes(x.q, x.k, w, beta, turned)
        whole = changes * self.scale()
        return Dense(lambda block: whole[:, :, block.rows, block.keys])
