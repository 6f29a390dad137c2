"""Inverses of triangular matrices whose diagonal is one, by products of matrices."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_lower_inverse(lower: Tensor) -> Tensor:
    """(I + L)⁻¹, L being what stands below the diagonal.

    Each row of a triangular system waits for those above it. Here inverses of blocks of 1, 2, 4, … rows
    become those of twice as many: of [[A, 0], [C, B]] it is [[A⁻¹, 0], [−B⁻¹·C·A⁻¹, B⁻¹]]. That adds up
    numbers no larger than the inverse's own, where a series in powers of L adds up larger ones that cancel.
    Of reflections that are all alike the system keeps a digit more.

    Args:
        lower: (…, n, n); its diagonal and what stands above are not looked at.

    Returns:
        (…, n, n) in its dtype, with derivatives of the first order alone.
    """
    inverse: Tensor = _inverse(lower)
    return inverse


# One operation to a compiler: on its parts it would spend as long as on all else of a layer of PaTH.
@torch.library.custom_op("pebench::unit_lower_inverse", mutates_args=())
def _inverse(lower: Tensor) -> Tensor:
    rows = lower.shape[-1]
    size = 1 << (rows - 1).bit_length()
    below = F.pad(lower, (0, size - rows, 0, size - rows))
    inverse = torch.ones_like(below[..., :1]).unsqueeze(-1)
    done = 1
    while done < size:
        # (…, pairs of blocks, rows, columns): what stands below the first of a pair, beside the second.
        blocks = below.unflatten(-1, (-1, 2, done)).unflatten(-4, (-1, 2, done))
        corner = blocks.diagonal(dim1=-6, dim2=-3)[..., 1, :, 0, :, :].movedim(-1, -3)
        first, second = inverse.unflatten(-3, (-1, 2)).unbind(-3)
        corner = -second @ corner @ first
        inverse = torch.cat((F.pad(first, (0, done)), torch.cat((corner, second), dim=-1)), dim=-2)
        done *= 2
    return inverse[..., 0, :rows, :rows].contiguous()


@_inverse.register_fake
def _(lower: Tensor) -> Tensor:
    return torch.empty_like(lower, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _backward(ctx: Any, gradient: Tensor) -> Tensor:
    (inverse,) = ctx.saved_tensors
    found: Tensor = -(inverse.mT @ gradient @ inverse.mT).tril(-1)
    return found


_inverse.register_autograd(_backward, setup_context=_keep)
