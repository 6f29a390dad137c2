"""Selective RoPE: queries and keys turn by angles that add up over the tokens, read off their content."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.accumulation import go_on
from pebench.formulas.axes import pairs_of
from pebench.formulas.convolution import convolve
from pebench.formulas.projection import each, projection
from pebench.formulas.rotation import cosines_and_sines, rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

Positive = Annotated[int, Field(ge=1)]


class AngleReader(nn.Module):
    """The maps of a layer: φ = W_up W_down x̂, the filters (D/2, width), and what the options ask for."""

    filters: Tensor

    def __init__(self, geometry: Geometry, rank: int, width: int | None, gate: bool, constant: bool) -> None:
        super().__init__()
        half = geometry.channels // 2
        self.down = projection(geometry.width, rank)
        self.up = projection(rank, half)
        if width is None:
            self.register_buffer("filters", torch.tensor([[-1.0, 1.0]]), persistent=False)
        else:
            self.filters = nn.Parameter(torch.randn(half, width) * 0.02)
        self.gate = projection(geometry.width, geometry.heads, 0.0) if gate else None
        self.constant = (
            nn.Parameter(torch.zeros(geometry.heads, geometry.head_dim // 2)) if constant else None
        )


class SelectiveRopeEncoding(PositionEncoding):
    """The pair (2c, 2c+1) of a head turns by τ_c·Σ_{t ≤ i} g_t·((conv φ)_tc + e^b_hc), φ = W_up W_down x̂.

    x̂ is the layer's normed input with each head's slice of it at length 1, conv a causal convolution of each
    channel of φ with a filter of its own. Without one (`convolution: null`) steps are φ_t − φ_{t−1}, and the
    sum is φ_i itself. The gate g_t = σ(w_h·x̂_t + b_h) and the constant e^b are off by default.
    """

    axes = (1,)
    acts = "R"
    head_width_only = True
    causal_only = True
    cost = "a product D → rank → D/2, a convolution, N·D/2 sums in float64, cosines and sines a layer"
    claims = ("shift",)
    source = "Movahedi et al. 2025, https://arxiv.org/abs/2511.17388"
    temperatures: Tensor

    def __init__(
        self,
        geometry: Geometry,
        rank: Positive = 16,
        convolution: Positive | None = 4,
        gate: bool = False,
        constant: bool = False,
        temperature: Literal["rope", "rfa"] = "rope",
        base: Annotated[float, Field(gt=1)] = 500000.0,
        learn_temperature: bool = False,
    ) -> None:
        """
        Args:
            rank: of the product that reads angles off the content; the published runs take 32.
            convolution: tokens that the filters span, None for the difference of neighbours.
            gate: whether each head scales the steps of a token.
            constant: whether every step has a learned part that does not depend on the content.
            temperature: τ_c = base^(−2c/d), or tan(ϑ_c/2) with ϑ from 0 to 0.995·π, its largest at 1.
            base: of the former.
            learn_temperature: whether τ is learned, for each layer.
        """
        super().__init__(geometry)
        layers, pairs = geometry.layers, pairs_of(geometry.head_dim)
        if geometry.width % geometry.heads:
            raise ValueError(f"width {geometry.width} does not divide into slices for {geometry.heads} heads")
        # Then the angle is a function of the token alone.
        self.orderless = convolution is None and not (gate or constant)
        self.readers = each(layers, lambda: AngleReader(geometry, rank, convolution, gate, constant))
        tangents = (torch.linspace(0, 0.995 * math.pi, pairs) / 2).tan()
        falling = base ** (-torch.arange(pairs) / pairs)
        start = falling if temperature == "rope" else tangents / tangents.amax()
        if learn_temperature:
            self.temperatures = nn.Parameter(start.repeat(layers, 1))
        else:
            self.register_buffer("temperatures", start.repeat(layers, 1), persistent=False)

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned by the sums up to their own token."""
        sums = self._sums(self.readers[x.layer], x)
        cosine, sine = cosines_and_sines(sums * self.temperatures[x.layer])
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)

    def _sums(self, reader: AngleReader, x: AttentionInputs) -> Tensor:
        """(B, H, N, d/2) float64."""
        # Angles: never in half precision.
        hidden = x.hidden.to(reader.filters.dtype)
        slices = hidden.unflatten(-1, (self.geometry.heads, -1))
        unit = (slices * (slices.square().sum(-1, keepdim=True) + 1e-6).rsqrt()).flatten(-2)
        steps = convolve(reader.up(reader.down(unit)), reader.filters, x)
        steps = steps.unflatten(-1, (self.geometry.heads, -1))
        if reader.constant is not None:
            steps = steps + reader.constant.exp()
        if reader.gate is not None:
            steps = steps * reader.gate(unit).sigmoid()[..., None]
        return go_on(steps.movedim(1, -1), x.state).mT
