"""LieRE: queries and keys turn by learned rotations of many channels at once, one generator for each axis."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.formulas.skew import multiply, rotations_by_multiples, turn_by_multiples
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

TOGETHER = 1 << 29
"""Bytes of float32 rotations of all layers up to which they are made at once in training."""

EXPONENTIALS_TOGETHER = 1 << 26
"""The same of several axes, where to make them takes many times the memory."""


class Rotations(NamedTuple):
    """The table of a training step.

    Attributes:
        layers: of each the (1, N, H, blocks, block, block) float32 rotations.
    """

    layers: tuple[Tensor, ...]


class LiereEncoding(PositionEncoding):
    """q and k are multiplied by R(p) = exp(Σ_axis p_axis·A_axis), each A being skew-symmetric.

    Every layer and head has an A of its own for each axis, drawn from U(0, 2π). A consists of blocks along
    the diagonal. Blocks of 2 turn pairs of channels, each by x·fx + y·fy, as `rope-mixed` does. As in the
    published code p runs from 0 to 1 over the trained extent L: it is i/(L − 1).
    """

    axes = (1, 2, 3)
    acts = "R"
    head_width_only = True
    cost = (
        "one axis: O(N·D·block) time a layer and text, or for many texts N·D·block numbers and O(N·D·block²) "
        "time a layer as well. Several: both, in float64, for an exponential for each position, head and "
        "block. In training N·D·block numbers for all layers at once, up to a bound"
    )
    claims = ("grid-row",)
    source = "Ostmeier et al. 2024, https://arxiv.org/abs/2406.10322"

    version = 2

    def __init__(
        self, geometry: Geometry, block: Annotated[int, Field(ge=2)] = 8, inclusive: bool = True
    ) -> None:
        """
        Args:
            block: channels that turn together; divides the channels of a head.
            inclusive: whether the last trained position is at 1, or the one after it: p is i/L then.
        """
        super().__init__(geometry)
        if geometry.head_dim % block:
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into blocks of {block}")
        self.block = block
        self.lengths = tuple(max(1, size - 1) if inclusive else size for size in geometry.extent)
        blocks, entries = geometry.head_dim // block, block * (block - 1) // 2
        shape = (geometry.axes, geometry.layers, geometry.heads, blocks, entries)
        self.entries = nn.Parameter(torch.rand(shape) * 2 * math.pi)

    @classmethod
    def former_options(cls, version: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """In version 1 p was i/L."""
        return ({"inclusive": False} if version < 2 else {}) | dict(options)

    def table(self, x: TableInputs) -> Tensor | Rotations:
        """(B|1, N, A) float64 p, from 0 to 1 over the trained extent; in training the rotations of all
        layers, where all texts have one."""
        # By numbers that the host knows: a tensor of them would have to be sent to a GPU, and waited for.
        axes = zip(x.positions.unbind(-1), self.lengths, strict=True)
        places = torch.stack([along.double() / length for along, length in axes], dim=-1)
        if x.rng is None or len(places) > 1 or not self._made_together(places.shape[1]):
            return places
        return self._rotations(places)

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both multiplied by the rotations of the layer."""
        if isinstance(x.q_table, Rotations):
            exact = torch.promote_types(x.q.dtype, torch.float32)
            rotations = x.q_table.layers[x.layer].movedim(1, 3).to(exact)
            return multiply(rotations, x.q), multiply(rotations, x.k)
        turn = self._turn(self._generators(x.layer), x.q_table, x.q)
        return turn(x.q), turn(x.k)

    def _made_together(self, count: int) -> bool:
        """Whether the rotations of all layers at so many positions are made at once. Each by itself would ask
        a GPU for eigenvectors, and wait, and be traced by a compiler by itself."""
        _, layers, heads, blocks, _ = self.entries.shape
        most = TOGETHER if self.geometry.axes == 1 else EXPONENTIALS_TOGETHER
        return 4 * layers * heads * blocks * self.block**2 * count <= most

    def _rotations(self, places: Tensor) -> Rotations:
        """Those of all layers at (1, N, A) places."""
        generators = self._generators(slice(None)).flatten(1, 2)
        if len(generators) > 1:
            rotations = _exponentials(generators, places).float()
        else:
            rotations = rotations_by_multiples(generators[0], places[:, None, None], torch.float32)
        layers = rotations.unflatten(1, (self.geometry.layers, -1)).movedim(4, 2)
        return Rotations(layers.unbind(1))

    def _turn(self, generators: Tensor, table: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Function that multiplies (B, H, N, d) vectors by the rotations of a table and a layer."""
        exact = torch.promote_types(like.dtype, torch.float32)
        if len(generators) > 1:
            return partial(multiply, _exponentials(generators, table).to(exact))
        return turn_by_multiples(generators[0], table[:, None, None], like)

    def _generators(self, layer: int | slice) -> Tensor:
        """(A, H, blocks, block, block) skew-symmetric matrices of a layer, float64; of several layers (A, L,
        H, blocks, block, block)."""
        entries = self.entries[:, layer].double()
        row, column = torch.tril_indices(self.block, self.block, offset=-1, device=entries.device)
        lower = entries.new_zeros(*entries.shape[:-1], self.block, self.block)
        lower[..., row, column] = entries
        return lower - lower.transpose(-1, -2)


def _exponentials(generators: Tensor, positions: Tensor) -> Tensor:
    """(B|1, H, blocks, N, block, block) float64: exp(Σ p_axis·A_axis).

    Generators of several axes do not commute in general, so each position needs an exponential of its own.
    They are taken in float64: the squarings that make up a large rotation multiply its error.
    """
    exponents = torch.einsum("bna,ahgcd->bhgncd", positions, generators)
    return torch.matrix_exp(exponents.contiguous())
