"""Rotation of channel pairs, which all rotary encodings share."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotate_pairs(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns each pair of neighbouring channels (2c, 2c+1) by its angle.

    Args:
        x: (B, H, N, d) in any dtype; it is turned in float32 at least.
        cosine, sine: of the angles, broadcastable to (B, H, N, d/2). A common factor in both scales the
            result.

    Returns:
        (B, H, N, d) in the dtype of x.
    """
    exact = x.to(torch.promote_types(x.dtype, cosine.dtype))
    pairs = exact.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        # Each channel once with the cosine and its neighbour with the sine: of this form the backward pass is
        # one more of the kind, where that of even and odd channels apart jumps through memory.
        turned: Tensor = pairs * cosine[..., None] + pairs.flip(-1) * torch.stack((-sine, sine), dim=-1)
    else:
        # One complex product is several times as fast as the four real ones; compilers do not take it.
        turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.complex(cosine, sine))
    return turned.flatten(-2).to(x.dtype)


def cosine_and_sine(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of float64 angles of any size, in float32.

    Angles are reduced to one turn first, so that float32 holds them to seven digits.
    """
    within = angles.remainder(2 * math.pi).float()
    return within.cos(), within.sin()
