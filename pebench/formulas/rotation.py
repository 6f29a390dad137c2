"""Rotation of channel pairs, which all rotary encodings share."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.position_encoding import AttentionInputs


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


def cosines_and_sines(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32, of angles formed in float64: at position 131,071 an angle in float32 is off by 0.004,
    the cosine of one in float64 by no more than float32 itself."""
    return angles.cos().float(), angles.sin().float()


def rotate_by_table(x: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by a table of cosines and sines, each (B|1, N, d/2) for all heads and layers or
    (B|1, N, H, d/2) for all layers."""
    cosine, sine = (part[:, None] if part.ndim == 3 else part.transpose(1, 2) for part in x.q_table)
    return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)
