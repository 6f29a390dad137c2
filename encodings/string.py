"""STRING: queries and keys are mixed by a learned orthogonal matrix, and pairs of what comes out turn."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.axes import shares
from pebench.formulas.rotation import cosines_and_sines, rotate_pairs
from pebench.formulas.skew import cayley
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class StringEncoding(PositionEncoding):
    """q and k are multiplied by R(p) = exp(Σ_a p_a·A_a) with skew-symmetric A_a that commute, in each head.

    `cayley`: R(p) = S·RoPE(p)·Sᵀ, S = (I − K)(I + K)⁻¹, K skew-symmetric and learned, from 0 on. RoPE(p)
    turns a share of the pairs by each axis, the last axis first. `circulant`: A_a = C_a − C_aᵀ, C_a circulant
    with a learned first row c_a; in the Fourier basis pair m turns by −p_a·2·Σ_r c_a,r·sin(2πmr/d). The
    matrix on the left, S or the basis, is in queries and keys alike: it cancels, and is left out.
    """

    axes = (1, 2, 3)
    acts = "R"
    head_width_only = True
    cost = (
        "O(N·D·d) time a layer; N·d cosines and sines, made once a forward pass, and H inverses of d × d "
        "matrices a layer; `circulant` N·D cosines and sines a layer, and no inverses"
    )
    claims = ("shift",)
    source = "Schenck et al. 2025, https://arxiv.org/abs/2502.02562"

    def __init__(
        self,
        geometry: Geometry,
        kind: Literal["cayley", "circulant"] = "cayley",
        base: Annotated[float, Field(gt=1)] = 10000.0,
        init: Annotated[float, Field(gt=0)] = 0.02,
    ) -> None:
        """
        Args:
            kind: of the matrices.
            base: of RoPE's frequencies in `cayley`.
            init: standard deviation of c at the start in `circulant`.
        """
        super().__init__(geometry)
        width, kinds = geometry.head_dim, (geometry.layers, geometry.heads)
        if width % 2:
            raise ValueError(f"{width} channels a head do not divide into pairs")
        self.base, self.shares = base, shares(width // 2, geometry.axes)
        if kind == "cayley":
            self.entries = nn.Parameter(torch.zeros(*kinds, width * (width - 1) // 2))
        else:
            self.rows = nn.Parameter(torch.randn(geometry.axes, *kinds, width) * init)
        self.kind = kind

    def table(self, x: TableInputs) -> Tensor | tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32, or (B|1, N, A) float64 positions in `circulant`."""
        places = x.positions.double()
        if self.kind == "circulant":
            return places
        axes = zip(places.split(1, dim=-1), self.shares, strict=True)
        angles = [p * self.base ** -(torch.arange(n, device=x.device).double() / n) for p, n in axes]
        return cosines_and_sines(torch.cat(angles[::-1], dim=-1))

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both mixed, then turned."""
        width = self.geometry.head_dim
        if self.kind == "cayley":
            mixing = cayley(self.entries[x.layer].double(), width)
            cosine, sine = (part[:, None] for part in x.q_table)
        else:
            mixing, waves = _fourier(width, x.q.device)
            turns = -2 * self.rows[:, x.layer].double() @ waves
            cosine, sine = cosines_and_sines(torch.einsum("bna,ahc->bhnc", x.q_table, turns))
        mixing = mixing.to(torch.promote_types(x.q.dtype, torch.float32))
        q, k = (rotate_pairs(part.to(mixing.dtype) @ mixing, cosine, sine) for part in (x.q, x.k))
        return q.to(x.q.dtype), k.to(x.k.dtype)


def _fourier(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(d, d) basis of cosines and sines, pair by pair, what never turns last; and the (d, d/2) sines."""
    place = torch.arange(width, dtype=torch.float64, device=device)[:, None]
    angles = 2 * math.pi / width * place * torch.arange(1, width // 2 + 1, device=device)
    waves = angles.sin()
    beside = torch.cat((waves[:, :-1], torch.ones_like(place)), dim=1)
    pairs = torch.stack((angles.cos(), beside), dim=-1).flatten(-2)
    return pairs / pairs.norm(dim=0), waves
