"""Rotary position embedding on a grid with learned frequencies, each pair turning with all axes at once."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.axes import shares
from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class MixedRotaryEncoding(PositionEncoding):
    """Pair c of head h in layer l turns by x·fx + y·fy at column x and row y, on three axes by z·fz more at
    frame z, with learned (fx, fy, fz) of its own.

    They start as the frequencies base^(−2c/w) along directions at right angles, one for each axis, with a
    share of w channels each; the directions are drawn for every head and layer.
    """

    axes = (2, 3)
    acts = "R"
    head_width_only = True
    cost = "O(N·D) time a layer, in each of which N·D cosines and sines are made anew"
    claims = ("shift",)
    source = "Heo et al. 2024, https://arxiv.org/abs/2403.13298"

    def __init__(self, geometry: Geometry, base: Annotated[float, Field(gt=1)] = 10.0) -> None:
        """
        Args:
            base: of the geometric progression of initial frequencies.
        """
        super().__init__(geometry)
        if geometry.axes == 2 and geometry.head_dim % 4:
            raise ValueError(
                f"{geometry.head_dim} channels a head do not divide into pairs for two directions"
            )
        counts = shares(geometry.head_dim // 2, geometry.axes)[::-1]
        lengths = torch.cat([base ** -(torch.arange(pairs) / pairs) for pairs in counts])
        directions = _directions(geometry.axes, geometry.layers, geometry.heads)
        each = [along[..., None].expand(-1, -1, -1, n) for along, n in zip(directions, counts, strict=True)]
        # (A, layers, H, d/2), the last axis, the column's, first.
        self.frequencies = nn.Parameter(torch.cat(each, dim=-1) * lengths)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float32 positions."""
        return x.positions.float()

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned by the angles of the layer."""
        places = x.q_table[:, None].split(1, dim=-1)[::-1]
        along, *others = self.frequencies[:, x.layer, :, None].unbind()
        angles = places[0] * along
        for place, along in zip(places[1:], others, strict=True):
            angles = angles + place * along
        cosine, sine = angles.cos(), angles.sin()
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)


def _directions(axes: int, layers: int, heads: int) -> list[Tensor]:
    """Random directions at right angles, as many as axes, each (A, layers, H)."""
    if axes == 2:
        angle = torch.rand(layers, heads) * 2 * math.pi
        return [torch.stack((turned.cos(), turned.sin())) for turned in (angle, angle + math.pi / 2)]
    frames, lengths = torch.linalg.qr(torch.randn(layers, heads, axes, axes))
    # With the lengths positive every direction is as likely as any other.
    frames = frames * lengths.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return list(frames.permute(3, 2, 0, 1))
