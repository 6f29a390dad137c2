"""A learned vector for every position, added to the token embeddings."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.position_encoding import Geometry, PositionEncoding, TableInputs


class LearnedEncoding(PositionEncoding):
    """x += P[i], with one row of P a position (on several axes one a grid cell), drawn from N(0, 0.02).

    There is no row past the trained extent, so P is resampled there to the extent that is served: linearly on
    one axis, bicubically on two, trilinearly on three. On one axis a shorter extent uses the first rows as
    they are; on several, where it means another resolution of the same picture, P is resampled as well. On
    two axes that is done with antialiasing, as timm does it, which changes what a smaller extent is given.
    """

    axes = (1, 2, 3)
    acts = "I"
    extrapolations = ("interpolate",)
    cost = "one N·D table, added once a forward pass"
    claims = ("grid-row",)
    source = "Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929"

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(geometry)
        self.rows = nn.Parameter(torch.randn(*geometry.extent, geometry.width) * 0.02)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, D): the row of each position."""
        rows = _resampled(self.rows, x.extent)
        return rows[tuple(x.positions.unbind(-1))]

    def refitted(self, weights: Mapping[str, Tensor], extent: tuple[int, ...]) -> dict[str, Tensor]:
        """P resampled to the extent that is trained at, as it would be to evaluate there."""
        return {"rows": _resampled(weights["rows"], self.geometry.extent)}

    def embed(self, table: Tensor) -> Tensor:
        """The rows."""
        return table


def _resampled(rows: Tensor, extent: tuple[int, ...]) -> Tensor:
    trained = tuple(rows.shape[:-1])
    if len(extent) == 1 and extent <= trained:
        return rows[: extent[0]]
    if extent == trained:
        return rows
    channels_first = rows.movedim(-1, 0)[None]
    if len(extent) == 2:
        resampled = F.interpolate(channels_first, size=extent, mode="bicubic", antialias=True)
    else:
        mode = "linear" if len(extent) == 1 else "trilinear"
        resampled = F.interpolate(channels_first, size=extent, mode=mode)
    return resampled[0].movedim(0, -1)
