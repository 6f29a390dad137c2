"""Chunked attention: each query sees the tokens of its own run alone."""

from typing import Annotated, ClassVar

from pydantic import Field

from pebench.position_encoding import Geometry, PositionEncoding, TableInputs


class ChunkEncoding(PositionEncoding):
    """A query at token i sees the keys with ⌊i/size⌋ = ⌊j/size⌋, by their order and whatever their positions.

    Alone it is NoPE in chunks. Beside RoPE in three layers of four (``rope + chunk``) it is the local
    attention of Llama 4. No window slides here: the first query of a run sees itself alone.
    """

    axes = (1,)
    acts = "W"
    kernels = ("fused", "flex")
    cost = "O(N·size·D) time a layer instead of O(N·K·D): kernels skip what no query sees"
    claims = ("shift", "reversal")
    drawn_with: ClassVar[dict[str, int]] = {"size": 150}
    source = "Llama 4 2025, https://ai.meta.com/blog/llama-4-multimodal-intelligence/"

    def __init__(self, geometry: Geometry, size: Annotated[int, Field(ge=2, le=1 << 24)] = 512) -> None:
        """
        Args:
            size: tokens of a run; 8192 in Llama 4.
        """
        super().__init__(geometry)
        self.size = size

    def chunk(self, layer: int) -> int:
        """The same in every layer."""
        return self.size

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""
