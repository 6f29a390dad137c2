"""Golden-gate RoPE: every pair of every head turns with the position along a direction of its own."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import cosines_and_sines, rotate_by_table
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

Positive = Annotated[float, Field(gt=0)]


class GoldenGateEncoding(PositionEncoding):
    """Pair c of head h, the interleaved (2c, 2c+1), turns by ω_c·(e_hc·u) at the place u.

    u is the position in units of half the trained extent, which spans a length of 2 that way; past it
    `interpolate` takes the extent that is served. ω: the first ⌊zero·d/2⌉ are 0, the others a geometric
    progression from min_frequency to max_frequency. e spreads evenly over the directions of A axes: with φ
    the positive root of x^(A+1) = x + 1 and t_a = frac(k·φ^−a), a = 1…A, e_hc is erf⁻¹(2t − 1) made a length
    of 1, k = 1…H·d/2 counting the pairs of one head after another.
    """

    axes = (1, 2, 3)
    acts = "R"
    head_width_only = True
    extrapolations = ("extend", "interpolate")
    cost = "O(N·D) time a layer; N·D cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Xiong 2025, https://jerryxio.ng/posts/nd-rope/"
    waves: Tensor

    def __init__(
        self,
        geometry: Geometry,
        min_frequency: Positive = 0.2,
        max_frequency: Positive = 20.0,
        zero: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        """
        Args:
            min_frequency: radians a unit of length.
            max_frequency: radians a unit of length.
            zero: share of a head's pairs that stand still.
        """
        super().__init__(geometry)
        pairs, heads, axes = geometry.head_dim // 2, geometry.heads, geometry.axes
        still = round(zero * pairs)
        if geometry.head_dim % 2 or still == pairs:
            raise ValueError(f"of {geometry.head_dim} channels a head none make up a pair that turns")
        phi = 2.0
        for _ in range(10):
            phi = (1 + phi) ** (1 / (axes + 1))
        number = torch.arange(1, heads * pairs + 1, dtype=torch.float64)[:, None]
        spread = number * phi ** -torch.arange(1, axes + 1, dtype=torch.float64) % 1
        directions = torch.nn.functional.normalize(torch.erfinv(2 * spread - 1), dim=-1)
        steps = torch.linspace(0, 1, pairs - still, dtype=torch.float64)
        turning = min_frequency * (max_frequency / min_frequency) ** steps
        frequencies = torch.cat((torch.zeros(still, dtype=torch.float64), turning))
        waves = directions.view(heads, pairs, axes) * frequencies[:, None]
        self.register_buffer("waves", waves, persistent=False)

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, H, d/2) float32."""
        spans = x.extent if x.extrapolation.method == "interpolate" else self.geometry.extent
        axes = zip(x.positions.double().unbind(-1), spans, strict=True)
        places = torch.stack([2 * along / span for along, span in axes], dim=-1)
        return cosines_and_sines(torch.einsum("bna,hca->bnhc", places, self.waves))

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        return rotate_by_table(x)
