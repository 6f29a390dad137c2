"""Parity: tokens at odd positions get a learned vector of their own."""

import torch
from torch import Tensor, nn

from pebench.position_encoding import Geometry, PositionEncoding


class ParityEncoding(PositionEncoding):
    """The vector is added to the embeddings."""

    axes = (1,)
    acts = "I"
    source = "an example, https://example.org"

    def __init__(self, geometry: Geometry, scale: float = 1.0) -> None:
        """
        Args:
            scale: of the vector's initial values.
        """
        super().__init__(geometry)
        self.odd = nn.Parameter(torch.randn(geometry.width) * scale)

    def embed(self, table: Tensor) -> Tensor:
        """(B|1, N, D), zero at even positions."""
        return (table % 2) * self.odd
