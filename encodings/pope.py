"""PoPE: the content of a channel is a magnitude, the position alone an angle."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class PopeEncoding(PositionEncoding):
    """logit = 1/√d·Σ_c s(q_ic)·s(k_jc)·cos((j − i)·θ_c + δ_hc), s being softplus and θ_c = base^(−c/d).

    Each of the d channels has a frequency of its own, twice as many as in RoPE, and becomes a pair: queries
    s(q)·(cos iθ, sin iθ), keys s(k)·(cos(jθ + δ), sin(jθ + δ)). δ is learned for each layer, head and
    channel, and counts between −2π and 0. On A axes the channels are shared out, the last axis first, with
    θ_c = base^(−c/w) for w channels of an axis. Class tokens are not turned.
    """

    axes = (1, 2, 3)
    acts = "R"
    widens_heads = True
    cost = (
        "twice the channels in the products q·k; O(N·D) time a layer; N·d cosines and sines, made once a"
        " forward pass"
    )
    claims = ("shift",)
    source = "Gopalakrishnan et al. 2025, https://arxiv.org/abs/2509.10534"

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        rotated: Annotated[float, Field(gt=0, le=1)] = 1.0,
        phase: Literal["zero", "uniform"] = "zero",
    ) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
            rotated: share of a head's channels that turn, the first ones; the others are multiplied as
                they are.
            phase: initial δ: 0, or drawn from U(−2π, 0).
        """
        super().__init__(geometry)
        self.base = base
        self.turning = round(geometry.head_dim * rotated)
        if self.turning < geometry.axes:
            raise ValueError(f"{self.turning} channels a head do not suffice for {geometry.axes} axes")
        drawn = torch.rand(geometry.layers, geometry.heads, self.turning)
        self.phases = nn.Parameter(-2 * math.pi * drawn if phase == "uniform" else torch.zeros_like(drawn))

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, turning channels) float32."""
        least, more = divmod(self.turning, self.geometry.axes)
        angles = []
        for number, along in enumerate(reversed(x.positions.unbind(-1))):
            width = least + (number < more)
            channel = torch.arange(width, dtype=torch.float64, device=along.device)
            angles.append(along.double()[..., None] * self.base ** (-channel / width))
        whole = torch.cat(angles, dim=-1)
        return whole.cos().float(), whole.sin().float()

    def prefix_table(self) -> tuple[Tensor, Tensor]:
        """Angles of zero."""
        zeros = self.phases.new_zeros(1, self.geometry.prefix_tokens, self.turning)
        return zeros.cos(), zeros.sin()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """(B, H, N, 2d): magnitudes as pairs, turned; δ is on the keys alone."""
        phase = self.phases[x.layer].clamp(-2 * math.pi, 0)[:, None]
        return self._turned(x.q, torch.zeros_like(phase), x), self._turned(x.k, phase, x)

    def _turned(self, heads: Tensor, phase: Tensor, x: AttentionInputs) -> Tensor:
        cosine, sine = (part[:, None] for part in x.q_table)
        magnitude = F.softplus(heads[..., : self.turning].float())
        pairs = torch.stack((magnitude * phase.cos(), magnitude * phase.sin()), dim=-1).flatten(-2)
        turned = rotate_pairs(pairs, cosine, sine).to(heads.dtype)
        return torch.cat((turned, heads[..., self.turning :]), dim=-1)
