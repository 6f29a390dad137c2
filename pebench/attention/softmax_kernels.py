"""What softmaxes of kernels in Triton share: forward over keys that come tile by tile, and where the way back
begins.

Weights are in proportion to the highest logit so far; where a higher one comes, what has been summed becomes
less. Carried on are `total`, (queries, WIDTH) sums of weighted values, `sums` of the weights, and `most`, the
highest logit to base 2.
"""

import triton
import triton.language as tl

from pebench.attention.tile_kernels import LOG2_E, NEVER, rows, text_and_head


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


@triton.jit
def mean_gradients(
    out, gradient, means,
    o_text, o_head, o_token, g_text, g_head, g_token,
    heads, length,
    D: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """Σ out·gradient of each query, which is the mean of the gradients of its weights."""
    text, head, both = text_and_head(heads)
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    found = rows(out + text * o_text + head * o_head, query, o_token, length, False, D, WIDTH)
    above = rows(gradient + text * g_text + head * g_head, query, g_token, length, False, D, WIDTH)
    mean = tl.sum(found.to(tl.float32) * above.to(tl.float32), 1)
    tl.store(means + both.to(tl.int64) * length + query, mean, mask=query < length)
