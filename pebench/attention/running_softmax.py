"""The softmax of a tile of queries in Triton, over keys that come tile by tile.

Weights are in proportion to the highest logit so far; where a higher one comes, what has been summed becomes
less. Carried on are `total`, (queries, WIDTH) sums of weighted values, `sums` of the weights, and `most`, the
highest logit times log₂ e.
"""

import triton
import triton.language as tl

from pebench.attention.tile_kernels import LOG2_E, NEVER


@triton.jit
def before_all_keys(QUERIES: tl.constexpr, WIDTH: tl.constexpr):
    """The total, the sums and the highest logits of no key."""
    total = tl.zeros([QUERIES, WIDTH], dtype=tl.float32)
    sums = tl.zeros([QUERIES], dtype=tl.float32)
    most = tl.full([QUERIES], NEVER, dtype=tl.float32)
    return total, sums, most


@triton.jit
def weigh(logits, sums, most):
    """The weights of a tile of queries × keys, what the total before it is multiplied by, and the sums and
    highest logits from here on."""
    highest = tl.maximum(most, tl.max(logits, 1) * LOG2_E)
    weights = tl.exp2(logits * LOG2_E - highest[:, None])
    less = tl.exp2(most - highest)
    return weights, less, sums * less + tl.sum(weights, 1), highest
