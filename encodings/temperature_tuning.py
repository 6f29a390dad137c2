"""Llama 4's temperature: logits grow by a step each time that the context has grown by its trained length."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding


class TemperatureTuningEncoding(PositionEncoding):
    """logit·(1 + scale·ln(1 + ⌊n/floor⌋)) for a query that sees n keys, as Llama 4 has it in the layers that
    do not rotate.

    With `count: positions` n is the position of the query instead, as in all layers of Ministral 3. In causal
    text without gaps a query at position i sees i + 1 keys, so that Ministral takes each step a token later.
    """

    axes = (1,)
    acts = "T"
    cost = "one factor on each query"
    source = "Llama 4 2025, https://ai.meta.com/blog/llama-4-multimodal-intelligence/"

    def __init__(
        self,
        geometry: Geometry,
        scale: Annotated[float, Field(ge=0)] = 0.1,
        floor: Annotated[int, Field(ge=1)] | None = None,
        count: Literal["keys", "positions"] = "keys",
    ) -> None:
        """
        Args:
            scale: of the logarithm.
            floor: length of a step, by default the trained extent; 8192 in Llama 4.
            count: what n is.
        """
        super().__init__(geometry)
        self.size, self.floor = scale, floor or geometry.extent[0]
        self.by_position = count == "positions"

    def temperature(self, x: AttentionInputs) -> Tensor:
        """(B|1, 1, N): 1 before the first step."""
        n = x.q_table[..., 0] if self.by_position else x.mask.keys_seen()
        return 1 + self.size * n[:, None].div(self.floor, rounding_mode="floor").float().log1p()
