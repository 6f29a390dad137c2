"""ComRoPE: queries and keys turn by learned rotations of many channels at once, which commute."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.skew import turn_by_multiples
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, StepRNG, TableInputs

Spread = Annotated[float, Field(ge=0)]


class CommutingRotaryEncoding(PositionEncoding):
    """q and k are multiplied by R(u) = exp(Σ_a u_a·A_a), A_a skew-symmetric matrices that commute, so that
    R(u)ᵀR(v) = R(v − u).

    u_a = (p_a + ½)/N_a, with N_a positions in the trained extent; past it `interpolate` takes the extent that
    is served. A_a consists of blocks along the diagonal, for head h and block t: with P_ht learned, A_a is
    μ_at·(P_ht − P_htᵀ) in `ld` (linearly dependent), with μ learned and shared by the heads. In `ap` (axial
    partition) it is P_ht − P_htᵀ where t mod A = a, else 0.
    """

    axes = (1, 2, 3)
    acts = "R"
    head_width_only = True
    extrapolations = ("extend", "interpolate")
    cost = (
        "O(N·D·block) time a layer and text, or for many texts N·D·block numbers and O(N·D·block²) time a "
        "layer as well; the eigenvectors of D/block matrices"
    )
    claims = ("shift",)
    source = "Yu et al. 2025, https://arxiv.org/abs/2506.03737"

    def __init__(
        self,
        geometry: Geometry,
        kind: Literal["ld", "ap"] = "ld",
        block: Annotated[int, Field(ge=2)] = 8,
        init: Annotated[float, Field(gt=0)] = 1.0,
        noise: Spread = 0.0,
        offset: Spread = 0.0,
    ) -> None:
        """
        Args:
            kind: of the matrices.
            block: channels that turn together; divides the channels of a head.
            init: standard deviation of P at the start; that of μ is 1.
            noise: in training each position is moved by noise/2·N(0, 1), half a position at most.
            offset: in training all positions are moved by offset·N(0, 1), one number an axis.
        """
        super().__init__(geometry)
        blocks, rest = divmod(geometry.head_dim, block)
        if rest:
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into blocks of {block}")
        if kind == "ap" and blocks < geometry.axes:
            raise ValueError(f"{blocks} blocks of a head are too few for {geometry.axes} axes")
        self.noise, self.offset = noise, offset
        self.matrices = nn.Parameter(
            torch.randn(geometry.layers, geometry.heads, blocks, block, block) * init
        )
        self.multipliers = None
        if kind == "ld":
            self.multipliers = nn.Parameter(torch.randn(geometry.axes, geometry.layers, blocks))

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float64 places u."""
        extent = x.extent if x.extrapolation.method == "interpolate" else self.geometry.extent
        positions = x.positions.double() + 0.5
        if x.rng is not None and (self.noise or self.offset):
            positions = positions + self._moves(positions.shape[1], x.rng).to(x.device)
        axes = zip(positions.unbind(-1), extent, strict=True)
        return torch.stack([along / size for along, size in axes], dim=-1)

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both multiplied by the rotations of the layer."""
        matrices, axes = self.matrices[x.layer].double(), x.q_table.shape[-1]
        if self.multipliers is None:
            places = x.q_table.unbind(-1)
            times = torch.stack([places[t % axes] for t in range(matrices.shape[1])], dim=-1)
        else:
            times = x.q_table @ self.multipliers[:, x.layer].double()
        turn = turn_by_multiples(matrices - matrices.mT, times.mT[:, None, :, :, None], x.q)
        return turn(x.q), turn(x.k)

    def _moves(self, count: int, rng: StepRNG) -> Tensor:
        draws = torch.randn(1, count + 1, self.geometry.axes, generator=rng.generator("comrope", rng.step))
        near = (draws[:, 1:] * (self.noise / 2)).clamp(-0.5, 0.5)
        return near + draws[:, :1] * self.offset
