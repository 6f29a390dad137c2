"""M-RoPE: each channel pair turns with one of three axes, by the frequencies of one head's RoPE."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import cosines_and_sines, rotate_by_table
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

Pairs = Annotated[int, Field(ge=0)]


class MultimodalRotaryEncoding(PositionEncoding):
    """The interleaved pair (2c, 2c+1) turns by p_a(c)·base^(−2c/d), c = 0…d/2−1: frequencies run over the
    whole head, and a(c) says which coordinate of (frame, row, column) the pair reads.

    With sections (n_t, n_r, n_c): `chunked` (Qwen2-VL) gives the first n_t pairs to the frame, the next n_r
    to the row and the last n_c to the column; `interleaved` (Qwen3-VL) gives pairs 1, 4, … below 3·n_r to the
    row, 2, 5, … below 3·n_c to the column, and all others to the frame.
    """

    axes = (3,)
    acts = "R"
    shared_keys = True
    head_width_only = True
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Wang et al. 2024, https://arxiv.org/abs/2409.12191; interleaved: Qwen3-VL, https://arxiv.org/abs/2511.21631"

    def __init__(
        self,
        geometry: Geometry,
        layout: Literal["interleaved", "chunked"] = "interleaved",
        sections: tuple[Pairs, Pairs, Pairs] | None = None,
        base: Annotated[float, Field(gt=1)] = 1e6,
    ) -> None:
        """
        Args:
            layout: which pairs read which axis.
            sections: pairs of frame, row and column; by default in the published proportions, 16 : 24 : 24
                chunked and 24 : 20 : 20 interleaved.
            base: of the geometric progression of frequencies; 10⁶ is Qwen2-VL's.
        """
        super().__init__(geometry)
        pairs = geometry.head_dim // 2
        if geometry.head_dim % 2 or pairs < 3:
            raise ValueError(f"{geometry.head_dim} channels a head do not make up a pair for each of 3 axes")
        if sections is None:
            each = round(pairs * (24 if layout == "chunked" else 20) / 64)
            sections = (pairs - 2 * each, each, each)
        if layout == "chunked" and sum(sections) != pairs:
            raise ValueError(f"sections {sections} do not add up to the {pairs} pairs of a head")
        self.base = base
        self.reads = [axis for axis in range(3) for _ in range(sections[axis])]
        if layout == "interleaved":
            self.reads = [c % 3 if c < 3 * sections[c % 3] else 0 for c in range(pairs)]

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, d/2) float32."""
        pairs = torch.arange(len(self.reads), dtype=torch.float64, device=x.device)
        # Chosen by numbers that the host knows: a tensor of them would have to be sent to a GPU.
        places = x.positions.double().unbind(-1)
        read = torch.stack([places[axis] for axis in self.reads], dim=-1)
        return cosines_and_sines(read * self.base ** (-pairs / len(self.reads)))

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned."""
        return rotate_by_table(x)
