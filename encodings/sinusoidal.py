"""Fixed sines and cosines of the position, added to the token embeddings."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.axes import shares
from pebench.position_encoding import Geometry, PositionEncoding, TableInputs


class SinusoidalEncoding(PositionEncoding):
    """Channel 2c is sin(i·ω_c) and channel 2c+1 cos(i·ω_c), with ω_c = 10000^(−2c/D).

    With several axes each has an equal share of the channels, first axis first, with ω_c = 10000^(−2c/w) for
    a share of w; pairs that are left over go to the last axes.
    """

    axes = (1, 2, 3)
    acts = "I"
    cost = "one N·D table of sines, added once a forward pass"
    source = "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; 2-D: He et al. 2022, https://arxiv.org/abs/2111.06377"

    def __init__(self, geometry: Geometry, amplitude: Annotated[float, Field(gt=0)] = 1.0) -> None:
        """
        Args:
            amplitude: of the sines. The paper adds sines of amplitude 1 to embeddings that it scales by √D to
                the order of 1; beside embeddings of GPT-2's deviation of 0.02 the same amplitude keeps that
                proportion, where 1 would drown the tokens.
        """
        super().__init__(geometry)
        self.amplitude = amplitude
        if geometry.width % 2:
            raise ValueError(f"width {geometry.width} does not divide into sines and cosines")
        self.shares = shares(geometry.width // 2, geometry.axes)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, D) float32."""
        places = zip(x.positions.float().unbind(-1), self.shares, strict=True)
        angles = torch.cat(
            [place[..., None] * self._frequencies(pairs, place) for place, pairs in places], -1
        )
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2) * self.amplitude

    def _frequencies(self, pairs: int, like: Tensor) -> Tensor:
        return 10000.0 ** -(torch.arange(pairs, device=like.device, dtype=like.dtype) / pairs)

    def embed(self, table: Tensor) -> Tensor:
        """The table as it is."""
        return table
