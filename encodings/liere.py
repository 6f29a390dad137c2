"""LieRE: queries and keys turn by learned rotations of many channels at once, one generator for each axis."""

import math
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
        "N·D·block numbers and O(N·D·block) time a layer, the latter for each text as well; of several axes "
        "once more O(N·D·block²) in float64, for an exponential for each position, head and block"
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
        exact = torch.promote_types(q.dtype, torch.float32)
        rotations_of = _along_one_axis if len(generators) == 1 else _along_several_axes
        rotations = rotations_of(generators, table, exact)
        return _turned(q, rotations), _turned(k, rotations)

    def _generators(self, layer: int) -> Tensor:
        """(A, H, blocks, block, block) skew-symmetric matrices, float64, in units of the trained extent."""
        entries = self.entries[:, layer].double()
        row, column = torch.tril_indices(self.block, self.block, offset=-1, device=entries.device)
        lower = entries.new_zeros(*entries.shape[:-1], self.block, self.block)
        lower[..., row, column] = entries
        return lower - lower.transpose(-1, -2)


def _turned(x: Tensor, rotations: Tensor) -> Tensor:
    """(B, H, N, d) vectors, each block of whose channels is multiplied by the (B|1, H, blocks, N, block,
    block) rotation of its position."""
    parts = x.to(rotations.dtype).unflatten(-1, (-1, rotations.shape[-1]))
    if len(rotations) == 1:
        # The texts are the columns of one product: as a batch of products the rotations would be copied.
        turned = (rotations[0] @ parts.permute(1, 3, 2, 4, 0)).permute(4, 0, 2, 1, 3)
    else:
        turned = (rotations @ parts.transpose(2, 3)[..., None]).squeeze(-1).transpose(2, 3)
    joined: Tensor = turned.flatten(-2)
    return joined.to(x.dtype)


def _along_one_axis(generators: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """(B|1, H, blocks, N, block, block): exp(p·A).

    All p·A have the same eigenvectors, so A = U·diag(−iλ)·U* is taken apart once, iA being Hermitian, and
    exp(p·A) = Σ_a cos(λ_a·p)·Re(u_a·u_a*) + sin(λ_a·p)·Im(u_a·u_a*) over its eigenvectors.
    """
    # Not 1j times A: PyTorch 2.11 cannot compile a complex constant for CUDA.
    values, vectors = torch.linalg.eigh(torch.complex(torch.zeros_like(generators[0]), generators[0]))
    # (B|1, H, blocks, N, block), from positions (B|1, 1, 1, N, 1) and values (H, blocks, 1, block).
    angles = positions[:, None, None] * values[:, :, None]
    waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype)
    # Real and imaginary parts by themselves: compilers for GPUs do not take complex numbers.
    parts = torch.view_as_real(vectors).unbind(-1)
    real, imaginary = (part.transpose(-1, -2) for part in parts)
    even = _outer(real, real) + _outer(imaginary, imaginary)
    odd = _outer(imaginary, real) - _outer(real, imaginary)
    products = torch.cat([even, odd], dim=-3).to(dtype).flatten(-2)
    rotations: Tensor = (waves @ products).unflatten(-1, generators.shape[-2:])
    return rotations


def _outer(x: Tensor, y: Tensor) -> Tensor:
    """x_c·y_d of the last dimension of both."""
    return x[..., :, None] * y[..., None, :]


def _along_several_axes(generators: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """(B|1, H, blocks, N, block, block): exp(Σ p_axis·A_axis).

    Generators of several axes do not commute in general, so each position needs an exponential of its own.
    They are taken in float64: the squarings that make up a large rotation multiply its error.
    """
    exponents = torch.einsum("bna,ahgcd->bhgncd", positions, generators)
    return torch.matrix_exp(exponents.contiguous()).to(dtype)
