"""LieRE: queries and keys turn by learned rotations of many channels at once, one generator for each axis."""

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs

MATRICES_FROM = 1 / 3
"""The texts for each channel of a block from which rotations are faster as matrices: one costs 2·block²
multiplications a channel to make, and saves 6·block for each text."""


class LiereEncoding(PositionEncoding):
    """q and k are multiplied by R(p) = exp(Σ_axis p_axis·A_axis), each A being skew-symmetric.

    Every layer and head has an A of its own for each axis. A consists of blocks along the diagonal. Blocks of
    2 turn pairs of channels, each by x·fx + y·fy, as `rope-mixed` does. What is learned is A times the
    trained extent of its axis, drawn from U(0, 2π), since in the published code positions run from 0 to 1
    over the trained extent.
    """

    axes = (1, 2, 3)
    acts = "R"
    cost = (
        "one axis: O(N·D·block) time a layer and text, or for many texts N·D·block numbers and O(N·D·block²) "
        "time a layer as well. Several: both, in float64, for an exponential for each position, head and "
        "block"
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

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N, A) float64 positions in units of the trained extent."""
        # By numbers that the host knows: a tensor of them would have to be sent to a GPU, and waited for.
        axes = zip(x.positions.unbind(-1), self.geometry.extent, strict=True)
        return torch.stack([along.double() / extent for along, extent in axes], dim=-1)

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both multiplied by the rotations of the layer."""
        turn = self._turn(self._generators(x.layer), x.q_table, x.q)
        return turn(x.q), turn(x.k)

    def _turn(self, generators: Tensor, table: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
        """What multiplies (B, H, N, d) vectors by the rotations, which depend on the table and the layer."""
        exact = torch.promote_types(like.dtype, torch.float32)
        if len(generators) > 1:
            return partial(_multiplied, _exponentials(generators, table).to(exact))
        spectrum = _spectrum(generators[0], table, exact)
        if len(table) == 1 and len(like) > MATRICES_FROM * self.block:
            return partial(_multiplied, _rotations(spectrum))
        return partial(_turned, spectrum)

    def _generators(self, layer: int) -> Tensor:
        """(A, H, blocks, block, block) skew-symmetric matrices, float64, in units of the trained extent."""
        entries = self.entries[:, layer].double()
        row, column = torch.tril_indices(self.block, self.block, offset=-1, device=entries.device)
        lower = entries.new_zeros(*entries.shape[:-1], self.block, self.block)
        lower[..., row, column] = entries
        return lower - lower.transpose(-1, -2)


class _Spectrum(NamedTuple):
    """exp(p·A) of one axis, taken apart. All p·A have the same eigenvectors: A = U·diag(−iλ)·U*.

    Attributes:
        cosine, sine: (B|1, H, blocks, N, block) of λ·p. real, imaginary: (H, blocks, block, block) of U.
    """

    cosine: Tensor
    sine: Tensor
    real: Tensor
    imaginary: Tensor


def _spectrum(generator: Tensor, positions: Tensor, dtype: torch.dtype) -> _Spectrum:
    # iA is Hermitian. Not 1j times A: PyTorch 2.11 cannot compile a complex constant for CUDA.
    values, vectors = torch.linalg.eigh(torch.complex(torch.zeros_like(generator), generator))
    angles = positions[:, None, None] * values[:, :, None]
    # Real and imaginary parts by themselves: compilers for GPUs do not take complex numbers.
    real, imaginary = torch.view_as_real(vectors).unbind(-1)
    parts = (angles.cos(), angles.sin(), real, imaginary)
    return _Spectrum(*(part.to(dtype) for part in parts))


def _turned(spectrum: _Spectrum, x: Tensor) -> Tensor:
    """U*·x, its product with exp(−iλp), and the real part of U times that: each position costs no more than
    in RoPE."""
    cosine, sine, real, imaginary = spectrum
    parts = x.to(real.dtype).unflatten(-1, (-1, real.shape[-1]))
    first = torch.einsum("hgca,bhngc->bhgna", real, parts)
    second = -torch.einsum("hgca,bhngc->bhgna", imaginary, parts)
    first, second = first * cosine + second * sine, second * cosine - first * sine
    turned: Tensor = torch.einsum("hgca,bhgna->bhngc", real, first)
    turned = turned - torch.einsum("hgca,bhgna->bhngc", imaginary, second)
    joined: Tensor = turned.flatten(-2)
    return joined.to(x.dtype)


def _rotations(spectrum: _Spectrum) -> Tensor:
    """(B|1, H, blocks, N, block, block): Σ_a cos(λ_a·p)·Re(u_a·u_a*) + sin(λ_a·p)·Im(u_a·u_a*) over the
    eigenvectors."""
    real, imaginary = spectrum.real.transpose(-1, -2), spectrum.imaginary.transpose(-1, -2)
    even = _outer(real, real) + _outer(imaginary, imaginary)
    odd = _outer(imaginary, real) - _outer(real, imaginary)
    waves = torch.cat([spectrum.cosine, spectrum.sine], dim=-1)
    entries = waves @ torch.cat([even, odd], dim=-3).flatten(-2)
    rotations: Tensor = entries.unflatten(-1, real.shape[-2:])
    return rotations


def _outer(x: Tensor, y: Tensor) -> Tensor:
    """x_c·y_d of the last dimension of both."""
    return x[..., :, None] * y[..., None, :]


def _exponentials(generators: Tensor, positions: Tensor) -> Tensor:
    """(B|1, H, blocks, N, block, block) float64: exp(Σ p_axis·A_axis).

    Generators of several axes do not commute in general, so each position needs an exponential of its own.
    They are taken in float64: the squarings that make up a large rotation multiply its error.
    """
    exponents = torch.einsum("bna,ahgcd->bhgncd", positions, generators)
    return torch.matrix_exp(exponents.contiguous())


def _multiplied(rotations: Tensor, x: Tensor) -> Tensor:
    """(B, H, N, d) vectors, each block of whose channels is multiplied by the (B|1, H, blocks, N, block,
    block) rotation of its position."""
    parts = x.to(rotations.dtype).unflatten(-1, (-1, rotations.shape[-1]))
    if len(rotations) == 1:
        # The texts are the columns of one product: as a batch of products the rotations would be copied.
        turned = (rotations[0] @ parts.permute(1, 3, 2, 4, 0)).permute(4, 0, 2, 1, 3)
    else:
        turned = (rotations @ parts.transpose(2, 3)[..., None]).squeeze(-1).transpose(2, 3)
    # One block leaves the texts last, and fused attention wants the channels there.
    joined: Tensor = turned.flatten(-2).contiguous()
    return joined.to(x.dtype)
