"""Log-n scaling: logits grow with the logarithm of the number of keys beyond those of training."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class LogNEncoding(PositionEncoding):
    """logit·max(1, 1 + β·ln(n/L₀)) for a query that sees n keys. With β = 1/ln L₀ that is ln n/ln L₀.

    L₀ is the number of keys at the trained extent, those without a position included. With `count: extent` n
    is that of the extent served, one for all queries, as DroPE has it with a β fitted on held-out text.
    """

    axes = (1, 2, 3)
    acts = "T"
    cost = "one factor on each query"
    claims = ("shift", "reversal", "grid-row")
    source = (
        "Su 2021, https://kexue.fm/archives/8823; β: Gelberg et al. 2025, https://arxiv.org/abs/2512.12167"
    )

    def __init__(
        self,
        geometry: Geometry,
        beta: Annotated[float, Field(ge=0)] | None = None,
        reference: Annotated[int, Field(ge=1)] | None = None,
        count: Literal["keys", "extent"] = "keys",
    ) -> None:
        """
        Args:
            beta: β, by default 1/ln L₀.
            reference: another L₀, such as one below the trained extent, so that training has the factor too.
            count: what n is.
        """
        super().__init__(geometry)
        self.reference = reference or math.prod(geometry.extent) + geometry.prefix_tokens
        if beta is None and self.reference < 2:
            raise ValueError("ln L₀ of a single key is 0: give a beta, or a reference of two keys or more")
        self.beta = 1 / math.log(self.reference) if beta is None else beta
        self.by_extent = count == "extent"

    def table(self, x: TableInputs) -> int:
        """The number of places that are served: keys are counted by attention."""
        return math.prod(x.extent) + self.geometry.prefix_tokens

    def temperature(self, x: AttentionInputs) -> Tensor:
        """(B|1, 1, N): never below 1."""
        seen = x.mask.keys_seen()[:, None].float()
        count = torch.full_like(seen, x.q_table) if self.by_extent else seen
        return 1 + self.beta * (count / self.reference).log().clamp(min=0)
