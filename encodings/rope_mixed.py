"""Rotary position embedding in 2-D with learned frequencies, each pair turning with both axes at once."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class MixedRotaryEncoding(PositionEncoding):
    """Pair c of head h in layer l turns by x·fx + y·fy at column x and row y, with learned (fx, fy) of its
    own.

    They start as the frequencies base^(−4c/d) along two directions at right angles, half of the pairs each;
    the first direction is drawn for every head and layer.
    """

    axes = (2,)
    acts = "R"
    cost = "O(N·D) time a layer, in each of which N·D cosines and sines are made anew"
    claims = ("shift",)
    source = "Heo et al. 2024, https://arxiv.org/abs/2403.13298"

    def __init__(self, geometry: Geometry, base: Annotated[float, Field(gt=1)] = 10.0) -> None:
        """
        Args:
            base: of the geometric progression of initial frequencies.
        """
        super().__init__(geometry)
        width = geometry.head_dim
        if width % 4:
            raise ValueError(f"{width} channels a head do not divide into pairs for two directions")
        frequencies = base ** (-torch.arange(0, width, 4) / width)
        direction = torch.rand(geometry.layers, geometry.heads, 1) * 2 * math.pi
        both = torch.cat(
            (direction.expand(-1, -1, width // 4), direction.expand(-1, -1, width // 4) + math.pi / 2), -1
        )
        # (2, layers, H, d/2), the first axis being the column's.
        self.frequencies = nn.Parameter(torch.stack((both.cos(), both.sin())) * frequencies.repeat(2))

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, 2) float32 rows and columns."""
        return x.positions.float()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned by the angles of the layer."""
        row, column = x.q_table[:, None, :, :1], x.q_table[:, None, :, 1:]
        along_x, along_y = self.frequencies[:, x.layer, :, None].unbind()
        angles = column * along_x + row * along_y
        cosine, sine = angles.cos(), angles.sin()
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)
