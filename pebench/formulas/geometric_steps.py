"""Steps between cells laid out farther and farther apart (BEiT, https://arxiv.org/abs/2106.08254)."""

from __future__ import annotations

import functools
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor


@functools.cache
def geometric_steps(trained: int, served: int) -> Tensor:
    """(2·served − 1, 2·trained − 1) weights of the trained steps in each step that is served."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        reached = sum(ratio**power for power in range(trained - 1))
        low, high = (low, ratio) if reached > served - 1 else (ratio, high)
    ahead = list(accumulate(ratio**power for power in range(trained - 1)))
    places = [-place for place in reversed(ahead)] + [0.0, *ahead]
    wanted = np.arange(1 - served, served)
    return torch.from_numpy(np.stack([np.interp(wanted, places, one) for one in np.eye(len(places))], axis=1))
