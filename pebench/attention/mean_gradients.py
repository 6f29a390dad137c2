"""The mean of the gradients of a query's weights, which each way back through a softmax takes off."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.attention import softmax_kernels as kernels
from pebench.attention import tiles


def mean_gradients(out: Tensor, gradient: Tensor) -> Tensor:
    """(B, H, N) Σ out·gradient of each query, in float32.

    Args:
        out: (B, H, N, d) of attention, with the channels of a token side by side.
        gradient: as out.
    """
    means = out.new_empty(out.shape[:3], dtype=torch.float32)
    size = tiles.ROUND // 2
    kernels.mean_gradients[tiles.by_head(out, size)](
        *(out, gradient, means),
        *tiles.strides(out, gradient),
        *out.shape[1:3],
        **tiles.widths(out),
        QUERIES=size,
    )
    return means
