"""A number for each head, read off the content of a token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ALIGNED = 8
"""Outputs of a product come in multiples of this on CUDA: the fast kernels take nothing else."""


def measure_for_heads(hidden: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    """w_h·x_t, a product like that of the queries, in their precision.

    Args:
        hidden: (B, N, D). weight: (H, D). like: the queries.

    Returns:
        (B, N, H) float32 at least.
    """
    heads = len(weight)
    if hidden.device.type == "cuda":
        weight = F.pad(weight, (0, 0, 0, -heads % ALIGNED))
    product = F.linear(hidden.to(like.dtype), weight.to(like.dtype))[..., :heads]
    return product.to(torch.promote_types(product.dtype, torch.float32))
