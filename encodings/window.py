"""Sliding-window attention: each query sees its nearest tokens alone."""

from typing import Annotated, ClassVar

from pydantic import Field

from pebench.position_encoding import Geometry, PositionEncoding, TableInputs


class WindowEncoding(PositionEncoding):
    """A query at token i sees the keys with |i − j| < size, by their order and whatever their positions.

    Alone it is NoPE with a window. Beside another encoding (``rope + window``, or in some layers of a
    pattern) it is the local attention of Mistral, Gemma 3 and RNoPE-SWA.
    """

    axes = (1,)
    acts = "W"
    kernels = ("fused", "flex")
    cost = "O(N·size·D) time a layer instead of O(N·K·D): kernels skip what no query sees"
    claims = ("shift", "reversal")
    drawn_with: ClassVar[dict[str, int]] = {"size": 96}
    source = "Beltagy et al. 2020, https://arxiv.org/abs/2004.05150"

    def __init__(self, geometry: Geometry, size: Annotated[int, Field(ge=2, le=1 << 24)] = 512) -> None:
        """
        Args:
            size: keys that a query of causal attention sees, its own counted.
        """
        super().__init__(geometry)
        self.size = size

    def window(self, layer: int) -> int:
        """The same in every layer."""
        return self.size

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""
