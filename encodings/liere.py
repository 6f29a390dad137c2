"""LieRE: queries and keys turn by learned rotations of many channels at once, one generator for each axis."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.position_encoding import Geometry, PositionEncoding, Reach


class LiereEncoding(PositionEncoding):
    """q and k are multiplied by R(p) = exp(Σ_axis p_axis·A_axis), each A being skew-symmetric.

    Every layer and head has an A of its own for each axis. A consists of blocks along the diagonal. Blocks of
    2 turn pairs of channels, each by x·fx + y·fy, as `rope-mixed` does. What is learned is A times the
    trained extent of its axis, drawn from U(0, 2π), since in the published code positions run from 0 to 1
    over the trained extent.
    """

    axes = (1, 2)
    acts = "R"
    cost = (
        "one axis: O(N·D·block) time a layer. Several: N·D·block numbers and O(N·D·block²) time a layer "
        "in float64, for an exponential for each position, head and block"
    )
    claims = ("grid-row",)
    source = "Ostmeier et al. 2024, https://arxiv.org/abs/2406.10322"

    def __init__(self, geometry: Geometry, block: Annotated[int, Field(ge=2)] = 8) -> None:
        """
        Args:
            block: channels that turn together; divides the channels of a head.
        """
        super().__init__(geometry)
        if geometry.head_dim % block:
            raise ValueError(f"{geometry.head_dim} channels a head do not divide into blocks of {block}")
        self.block = block
        blocks, entries = geometry.head_dim // block, block * (block - 1) // 2
        shape = (geometry.axes, geometry.layers, geometry.heads, blocks, entries)
        self.entries = nn.Parameter(torch.rand(shape) * 2 * math.pi)

    def table(self, positions: Tensor, reach: Reach) -> Tensor:
        """(B|1, N, A) float64 positions in units of the trained extent."""
        # By numbers that the host knows: a tensor of them would have to be sent to a GPU, and waited for.
        axes = zip(positions.unbind(-1), self.geometry.extent, strict=True)
        return torch.stack([along.double() / extent for along, extent in axes], dim=-1)

    def rotate(self, q: Tensor, k: Tensor, table: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Both multiplied by the rotations of the layer."""
        generators = self._generators(layer)
        turn = _along_one_axis if len(generators) == 1 else _along_several_axes
        rotation = turn(generators, table)
        return self._blockwise(rotation, q), self._blockwise(rotation, k)

    def _generators(self, layer: int) -> Tensor:
        """(A, H, blocks, block, block) skew-symmetric matrices, float64, in units of the trained extent."""
        entries = self.entries[:, layer].double()
        row, column = torch.tril_indices(self.block, self.block, offset=-1, device=entries.device)
        lower = entries.new_zeros(*entries.shape[:-1], self.block, self.block)
        lower[..., row, column] = entries
        return lower - lower.transpose(-1, -2)

    def _blockwise(self, rotation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        return rotation(exact.view(*x.shape[:-1], -1, self.block)).flatten(-2).to(x.dtype)


def _along_one_axis(generators: Tensor, positions: Tensor) -> Callable[[Tensor], Tensor]:
    """What multiplies (B, H, N, blocks, block) vectors by exp(p·A).

    All p·A have the same eigenvectors, so A = U·diag(−iλ)·U* is taken apart once, iA being Hermitian, and
    each position costs no more than in RoPE.
    """
    # Not 1j times A: PyTorch 2.11 cannot compile a complex constant for CUDA.
    values, vectors = torch.linalg.eigh(torch.complex(torch.zeros_like(generators[0]), generators[0]))
    # (B|1, H, N, blocks, block), from positions (B|1, 1, N, 1, 1) and values (H, 1, blocks, block).
    angles = positions[:, None, :, :, None] * values[:, None]
    cosine, sine = angles.cos(), angles.sin()
    # Real and imaginary parts by themselves: compilers for GPUs do not take complex numbers.
    real, imaginary = torch.view_as_real(vectors).unbind(-1)

    def rotation(x: Tensor) -> Tensor:
        across, along = real.to(x.dtype), imaginary.to(x.dtype)
        c, s = cosine.to(x.dtype), sine.to(x.dtype)
        # U*·x, its product with exp(−iλp), and the real part of U times that.
        first = torch.einsum("hgca,bhngc->bhnga", across, x)
        second = -torch.einsum("hgca,bhngc->bhnga", along, x)
        first, second = first * c + second * s, second * c - first * s
        return torch.einsum("hgca,bhnga->bhngc", across, first) - torch.einsum(
            "hgca,bhnga->bhngc", along, second
        )

    return rotation


def _along_several_axes(generators: Tensor, positions: Tensor) -> Callable[[Tensor], Tensor]:
    """What multiplies (B, H, N, blocks, block) vectors by exp(Σ p_axis·A_axis).

    Generators of several axes do not commute in general, so each position needs an exponential of its own.
    They are taken in float64: the squarings that make up a large rotation multiply its error.
    """
    exponents = torch.einsum("bna,ahgcd->bhngcd", positions, generators)
    rotations = torch.matrix_exp(exponents.contiguous())
    return lambda x: (rotations.to(x.dtype) @ x[..., None]).squeeze(-1)
