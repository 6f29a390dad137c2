"""Orthogonal matrices of skew-symmetric ones: rotations exp(p·A) of blocks of channels, and Cayley's.

Shapes: B batch, H heads, N tokens, d channels of a head in d/block blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

MATRICES_FROM = 1 / 3
"""The texts for each channel of a block from which rotations are faster as matrices: one costs 2·block²
multiplications a channel to make, and saves 6·block for each text."""


def turn_by_multiples(generators: Tensor, times: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Function that multiplies (B, H, N, d) vectors by exp(p·A), block by block.

    Args:
        generators: (H, blocks, block, block) float64 matrices A, skew-symmetric.
        times: (B|1, H|1, blocks|1, N, 1) float64 numbers p.
        like: the queries.
    """
    spectrum = _spectrum(generators, times, torch.promote_types(like.dtype, torch.float32))
    if len(times) == 1 and len(like) > MATRICES_FROM * generators.shape[-1]:
        return partial(multiply, _rotations(spectrum))
    return partial(_turned, spectrum)


def rotations_by_multiples(generators: Tensor, times: Tensor, dtype: torch.dtype) -> Tensor:
    """(B|1, H, blocks, N, block, block) matrices exp(p·A), of arguments as in `turn_by_multiples`."""
    return _rotations(_spectrum(generators, times, dtype))


def multiply(rotations: Tensor, x: Tensor) -> Tensor:
    """(B, H, N, d) vectors, each block of whose channels is multiplied by the (B|1, H, blocks, N, block,
    block) rotation of its position."""
    parts = x.to(rotations.dtype).unflatten(-1, (-1, rotations.shape[-1]))
    if torch.compiler.is_compiling():
        # One kernel, which reads and writes each vector once where it lies; as products of matrices that are
        # no larger than a block both are copied before and after.
        together: Tensor = (rotations.transpose(2, 3) * parts[..., None, :]).sum(-1).flatten(-2)
        return together.to(x.dtype)
    if len(rotations) == 1:
        # The texts are the columns of one product: as a batch of products the rotations would be copied.
        turned = (rotations[0] @ parts.permute(1, 3, 2, 4, 0)).permute(4, 0, 2, 1, 3)
    else:
        turned = (rotations @ parts.transpose(2, 3)[..., None]).squeeze(-1).transpose(2, 3)
    # One block leaves the texts last, and fused attention wants the channels there.
    joined: Tensor = turned.flatten(-2).contiguous()
    return joined.to(x.dtype)


def cayley(entries: Tensor, width: int) -> Tensor:
    """(…, d, d) orthogonal (I − K)(I + K)⁻¹ of a skew-symmetric K, by its (…, d·(d − 1)/2) entries below the
    diagonal."""
    row, column = torch.tril_indices(width, width, offset=-1, device=entries.device)
    lower = entries.new_zeros(*entries.shape[:-1], width, width)
    lower[..., row, column] = entries
    skew, one = lower - lower.mT, torch.eye(width, dtype=entries.dtype, device=entries.device)
    orthogonal: Tensor = torch.linalg.solve(one + skew, one - skew)
    return orthogonal


class _Spectrum(NamedTuple):
    """exp(p·A), taken apart. All p·A have the same eigenvectors: A = U·diag(−iλ)·U*.

    Attributes:
        cosine, sine: (B|1, H, blocks, N, block) of λ·p. real, imaginary: (H, blocks, block, block) of U.
    """

    cosine: Tensor
    sine: Tensor
    real: Tensor
    imaginary: Tensor


def _spectrum(generators: Tensor, times: Tensor, dtype: torch.dtype) -> _Spectrum:
    # iA is Hermitian. Not 1j times A: PyTorch 2.11 cannot compile a complex constant for CUDA.
    values, vectors = torch.linalg.eigh(torch.complex(torch.zeros_like(generators), generators))
    angles = times * values[:, :, None]
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
