"""softmax(scale·q·k + bias)·v, computed in chunks of queries: the N×K logits never exist at once. The kernel
is chosen here alone.

Shapes: B batch, H heads, N queries, K keys, d channels of queries and keys, v channels of values, r features
of a factored bias. The queries are the last N of the K tokens.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pebench.attention.constant_result import constant_result
from pebench.attention.dense import NOTHING, dense
from pebench.attention.keeping_weights import attend_keeping_weights, is_faster
from pebench.attention_mask import AttentionMask
from pebench.position_encoding import Adjusting, Bias, Block, Counting, Dense, Factored

Kernel = Literal["fused", "factored", "blocked", "flex", "shared", "counted", "adjusted"]
"""fused: `scaled_dot_product_attention`.
factored: the same, with a low-rank bias as further channels of queries and keys.
blocked: explicit softmax over one block of queries at a time.
flex: `flex_attention` on CUDA, compiled with the bias or the window inside.
shared: kernels of our own on CUDA, for a bias that all texts share.
counted: kernels of our own on CUDA, for a bias that is looked up by a count of keys.
adjusted: kernels of our own on CUDA, for logits that a network over the heads adjusts."""

FLEX_FROM = {
    (torch.bfloat16, False): 512,
    (torch.bfloat16, True): 512,
}
"""Tokens from which flex attention is faster than blocks of queries, by dtype and by whether gradients are
kept. Missing entries disable flex. `benchmarks/attention_paths.py` measures it, from 512 tokens on."""

SHARED_FROM: dict[tuple[torch.dtype, bool], int] = {
    (torch.bfloat16, False): 256,
    (torch.bfloat16, True): 512,
    (torch.float32, False): 256,
}
"""Tokens from which the kernels for a bias that all texts share are taken before all others, likewise. On an
H200 they take a third to a sixth of the time of blocks of queries, and two thirds of flex attention's with
gradients. Where those of fewer tokens or of float32 go through a compiler nobody has measured them beside
compiled blocks. `benchmarks/biased_attention.py` gives the numbers."""

SHARED_BYTES = 1 << 30
"""Of a whole matrix of numbers for all heads up to which these kernels take a bias that has no form by
distance."""

SHARED_CHANNELS = 128
"""The most channels of a head that they take."""

COUNTED_FROM: dict[tuple[torch.dtype, bool], int] = {
    (torch.bfloat16, False): 128,
    (torch.bfloat16, True): 128,
    (torch.float32, False): 128,
    (torch.float32, True): 128,
}
"""Tokens from which the kernels for a bias that is looked up by counts are taken, likewise. Measured on an
H200 forward and back in bfloat16, 12 heads of 64 channels: a sixth of the time of blocks at 128 and 256
tokens, a tenth at 1,024. Blocks write N×N gates, sums and lookups in float32 to memory, which these keep in
registers, whatever the precision and whether gradients are wanted."""

COUNTED_BYTES = 1 << 30
"""Of the numbers that all queries look up, beyond which blocks make them for a few queries at a time."""

COUNTED_CHANNELS = 128
"""The most channels of a head that they take."""

ADJUSTED_FROM: dict[tuple[torch.dtype, bool], int] = {
    (torch.bfloat16, False): 128,
    (torch.bfloat16, True): 128,
    (torch.float32, False): 128,
    (torch.float32, True): 128,
}
"""Tokens from which the kernels for logits that a network adjusts are taken, likewise. Measured on an H200 in
the training step of gpt2-small at 1,024 tokens alone: four times as fast as blocks, which multiply skinny
matrices of float32 without tensor cores. At fewer tokens that reason is the same."""

ADJUSTED_BYTES = 1 << 32
"""Of the float32 logits of one text, beyond which blocks make them for a few queries at a time."""

ADJUSTED_CHANNELS = 128
"""The most channels of a head that they take."""

ADJUSTED_SIDE = 32
"""The most heads that they take, and the most units of the network."""

FLEX_CHANNELS = 16
"""The fewest channels of a head that flex attention takes on CUDA."""

ROWS = 128
"""Queries in a block where a bias or a mask is asked for by blocks."""

CENTRED_ROWS = 256
"""Queries in a block of a key-only bias in float32. Each block counts the bias from its own middle: as one
run of 4,096 tokens it would lose four digits to the size of the sums, in blocks the loss stays near float32's
own."""

CENTRED_BLOCKS = {"cuda": 8}
"""Such blocks, of all texts, that are computed at a time by device; elsewhere, and of more texts, one of each
text. A block of one text alone leaves most of a GPU idle."""

RECOMPUTE_ABOVE = 1024
"""With more queries than this a blocked backward pass recomputes each block instead of keeping all of
them."""

BF16_TERMS = 3
"""bfloat16 numbers whose sum holds every float32 exactly: 3 × 8 bits of significand."""

EXACT_RANK = 4
"""Features of a bias query·key up to which bfloat16 carries every bit of them, in six channels each. Where
they are few they may be large and cancel, as positions do; where they are many they are vectors like queries
and keys themselves."""

ALIGNED_BYTES = 32
"""The channels of a head fill multiples of this on CUDA: below 16 the fast kernels take none, and PyTorch
would fall back to slower ones behind copies; of 16 and 32 the latter is faster."""


class Attended(NamedTuple):
    """Output of attention.

    Attributes:
        values: (B, H, N, v) in the dtype of the queries.
        kernel: that computed them.
    """

    values: Tensor
    kernel: Kernel


def possible_kernels(bias: Bias | None, windowed: bool = False) -> tuple[Kernel, ...]:
    """The kernels that can serve a bias, on one device or another.

    Args:
        bias: of the logits.
        windowed: whether a window or chunk hides keys.
    """
    match bias:
        case None:
            return ("fused", "flex") if windowed else ("fused",)
        case Factored():
            return ("factored",)
        case Dense(score=score):
            found: tuple[Kernel, ...] = ("blocked",) if score is None else ("blocked", "flex")
            if bias.counting is not None:
                return (*found, "counted")
            if bias.adjusting is not None:
                return (*found, "adjusted")
            return (*found, "shared") if bias.shared else found


def choose_kernel(bias: Bias | None, q: Tensor, k: Tensor, mask: AttentionMask) -> Kernel:
    """The one among `possible_kernels` for (B, H, N, d) queries on (B, H, K, d) keys."""
    possible = possible_kernels(bias, mask.window is not None or mask.chunk is not None)
    if isinstance(bias, Dense) and "shared" in possible and _shared_is_faster(bias, q, k, mask):
        return "shared"
    if isinstance(bias, Dense) and "counted" in possible and _counted_is_faster(bias, q, k, mask):
        return "counted"
    if isinstance(bias, Dense) and "adjusted" in possible and _adjusted_is_faster(bias, q, k, mask):
        return "adjusted"
    return "flex" if "flex" in possible and _flex_is_faster(q, k) else possible[0]


def _shared_is_faster(bias: Dense, q: Tensor, k: Tensor, mask: AttentionMask) -> bool:
    numbers = q.shape[1] * q.shape[2] * k.shape[2]
    fits = bias.by_distance is not None or 4 * numbers <= SHARED_BYTES
    fits = fits and q.shape[3] <= SHARED_CHANNELS and mask.chunk is None
    return fits and _is_long_enough(SHARED_FROM, q, k)


def _counted_is_faster(bias: Dense, q: Tensor, k: Tensor, mask: AttentionMask) -> bool:
    whole = slice(0, mask.queries), slice(0, mask.keys)
    counting = bias.counting
    if counting is None or not mask.is_plain_causal(*whole):
        return False
    numbers = q.shape[0] * q.shape[1] * q.shape[2] * counting.numbers
    fits = 4 * numbers <= COUNTED_BYTES and q.shape[3] <= COUNTED_CHANNELS
    return fits and _is_long_enough(COUNTED_FROM, q, k)


def _adjusted_is_faster(bias: Dense, q: Tensor, k: Tensor, mask: AttentionMask) -> bool:
    whole = slice(0, mask.queries), slice(0, mask.keys)
    adjusting = bias.adjusting
    if adjusting is None or not mask.is_plain_causal(*whole):
        return False
    fits = 4 * q.shape[1] * q.shape[2] * k.shape[2] <= ADJUSTED_BYTES and q.shape[3] <= ADJUSTED_CHANNELS
    fits = fits and max(adjusting.first.shape) <= ADJUSTED_SIDE
    return fits and _is_long_enough(ADJUSTED_FROM, q, k)


def _flex_is_faster(q: Tensor, k: Tensor) -> bool:
    return _is_long_enough(FLEX_FROM, q, k)


def _is_long_enough(least: dict[tuple[torch.dtype, bool], int], q: Tensor, k: Tensor) -> bool:
    """Whether a compiled kernel is faster on CUDA, by the fewest tokens of which that was measured."""
    if q.device.type != "cuda" or q.shape[2] != k.shape[2] or q.shape[3] < FLEX_CHANNELS:
        return False
    tokens = least.get((q.dtype, torch.is_grad_enabled()))
    return tokens is not None and q.shape[2] >= tokens and _has_triton()


@constant_result
def _has_triton() -> bool:
    """Whether kernels can be compiled for the GPU here."""
    return importlib.util.find_spec("triton") is not None


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Bias | None = None,
    *,
    mask: AttentionMask,
    scale: float,
    softcap: float | None = None,
) -> Attended:
    """Attention of the queries over the keys, outside of autocast.

    Args:
        q: (B, H, N, d).
        k: (B, G, K, d); each head serves H/G heads of queries in a row.
        v: (B, G', K, v), likewise.
        bias: added to the logits scale·q·k.
        mask: which keys each query sees. Padded rows are finite; ignore them.
        scale: of the logits, see `PositionEncoding.scale`.
        softcap: c, for logits c·tanh(scale·q·k/c) before the bias; None for none.
    """
    dtype = q.dtype
    if softcap is not None:
        bias = NOTHING if bias is None else replace(dense(bias), shared=False, counting=None, adjusting=None)
    if q.device.type == "cpu" and dtype in (torch.bfloat16, torch.float16):
        # On CPUs attention in half precision is slower than in float32, and less exact.
        q, k, v = q.float(), k.float(), v.float()
    kernel = choose_kernel(bias, q, k, mask)
    if kernel != "fused" or not _takes_shared(q, k, v, mask):
        k, v = for_each_head(k, q.shape[1]), for_each_head(v, q.shape[1])
    if kernel == "flex":
        # It imports the whole compiler, which nothing else waits for.
        from pebench.attention.flex import attend_by_score
    with torch.autocast(q.device.type, enabled=False):
        match bias:
            case None if kernel == "flex":
                out = attend_by_score(q, k, v, None, mask=mask, scale=scale)
            case None:
                out = _fused_of_any_width(q, k, v, mask, scale)
            case Factored():
                out = _factored(q, k, v, mask, bias, scale)
            case Dense() if kernel == "shared":
                out = _sharing(q, k, v, mask, bias, scale)
            case Dense(counting=counting) if kernel == "counted" and counting is not None:
                out = _counting(q, k, v, counting, scale)
            case Dense(adjusting=adjusting) if kernel == "adjusted" and adjusting is not None:
                out = _adjusting(q, k, v, adjusting, scale)
            case Dense(score=score) if kernel == "flex" and score is not None:
                out = attend_by_score(q, k, v, score, mask=mask, scale=scale, softcap=softcap)
            case Dense():
                out = _blocked(q, k, v, mask, bias, scale, softcap)
    return Attended(out.to(dtype), kernel)


def for_each_head(x: Tensor, heads: int) -> Tensor:
    """(B, G, N, d) to (B, H, N, d), each head H/G times in a row."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def _takes_shared(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> bool:
    """Whether PyTorch's kernel is fast with keys and values that heads share. On CUDA only one of its kernels
    takes them, which is for half precision and takes no mask; there it would fall back to the N×K form."""
    if k.shape[1] != v.shape[1]:
        return False
    whole = slice(0, mask.queries), slice(0, mask.keys)
    plain = mask.is_plain_causal(*whole) or mask.is_open(*whole)
    return q.device.type == "cpu" or (q.dtype in (torch.bfloat16, torch.float16) and plain)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, scale: float) -> Tensor:
    whole = slice(0, mask.queries), slice(0, mask.keys)
    if mask.is_plain_causal(*whole) or mask.is_open(*whole):
        return _fused_part(q, k, v, mask, *whole, scale)

    def part(rows: slice, keys: slice) -> Tensor:
        return _fused_part(q[:, :, rows], k[:, :, keys], v[:, :, keys], mask, rows, keys, scale)

    return _in_blocks(part, mask, ROWS, q, v)


def _in_blocks(
    part: Callable[[slice, slice], Tensor], mask: AttentionMask, size: int, q: Tensor, v: Tensor
) -> Tensor:
    """(B, H, N, d) outputs of all blocks of queries, computed one after another.

    Without gradients they are written into one tensor, the longest rows first. Blocks that grow, with outputs
    that stay between them, would each take new memory from the system, N×K numbers in all.
    """
    blocks = list(mask.blocks(size))
    if torch.is_grad_enabled():
        return torch.cat([part(rows, keys) for rows, keys in blocks], dim=2)
    out = v.new_empty(*q.shape[:2], mask.queries, v.shape[3])
    for rows, keys in reversed(blocks):
        out[:, :, rows] = part(rows, keys)
    return out


def _fused_part(
    q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, rows: slice, keys: slice, scale: float
) -> Tensor:
    shared = k.shape[1] != q.shape[1]
    if mask.is_plain_causal(rows, keys):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=shared)
    visible = None if mask.is_open(rows, keys) else mask.visible(rows, keys)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale, enable_gqa=shared)


def _factored(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, bias: Factored, scale: float) -> Tensor:
    if bias.query is not None:
        queries, keys = bias.query / scale, bias.key
        if q.dtype == torch.bfloat16 and keys.shape[-1] <= EXACT_RANK:
            queries, keys = _exact_products(queries.float(), keys.float())
        q, k = _widen(q, queries), _widen(k, keys)
        if mask.is_plain_causal(slice(0, mask.queries), slice(0, mask.keys)) and is_faster(q, k):
            return attend_keeping_weights(q, k, v, scale)
        return _fused_of_any_width(q, k, v, mask, scale)
    # The kernel multiplies every channel by the scale, and the bias must come through that exactly: a column
    # of ones on the queries is exact in any precision, so the keys carry all the rest.
    features = bias.key.sum(-1, keepdim=True)
    if q.dtype in (torch.float32, torch.float64):
        return _centred(q, k, v, mask, features / scale, scale)
    # In float32, of which the terms hold every bit: a compiler makes one kernel of this and the copy of the
    # keys, and float64 is dear there.
    features = (features / scale).float()
    q, k = _widen(q, q.new_ones(BF16_TERMS)), _widen(k, _exact_terms(features, q.dtype))
    return _fused_of_any_width(q, k, v, mask, scale)


def _sharing(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, bias: Dense, scale: float) -> Tensor:
    # It imports Triton, which there is for GPUs alone.
    from pebench.attention.shared import attend_sharing_bias

    values = bias.by_distance
    if values is None:
        rows, keys = slice(0, mask.queries), slice(0, mask.keys)
        found = bias.values(Block(rows, keys, mask._replace(key_mask=None).visible(rows, keys)))
        values = found[0].expand(q.shape[1], -1, -1)
    out = attend_sharing_bias(
        *(q, k, v if v.shape[-1] == q.shape[-1] else _pad(v, q), values.float()),
        causal=mask.causal,
        scale=scale,
        window=mask.window,
        key_mask=mask.key_mask,
    )
    return out[..., : v.shape[-1]]


def _counting(q: Tensor, k: Tensor, v: Tensor, counting: Counting, scale: float) -> Tensor:
    # It imports Triton, which there is for GPUs alone.
    from pebench.attention.counted import attend_counting

    out = attend_counting(
        *(q, k, v if v.shape[-1] == q.shape[-1] else _pad(v, q), counting.products()),
        scale=scale,
        gate_scale=counting.gate_scale,
    )
    return out[..., : v.shape[-1]]


def _adjusting(q: Tensor, k: Tensor, v: Tensor, adjusting: Adjusting, scale: float) -> Tensor:
    # It imports Triton, which there is for GPUs alone.
    from pebench.attention.adjusted import Weights, attend_adjusting

    # Another encoding beside it may scale the logits that attention takes.
    first = adjusting.first * (adjusting.scale / scale)
    out = attend_adjusting(
        *(q, k, v if v.shape[-1] == q.shape[-1] else _pad(v, q)),
        Weights(first, adjusting.last, *adjusting.tables()),
        scale=scale,
        slope=adjusting.slope,
    )
    return out[..., : v.shape[-1]]


def _fused_of_any_width(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, scale: float) -> Tensor:
    """Fused attention where queries and keys may have more channels than values."""
    if q.shape[-1] == v.shape[-1] or q.dtype in _takes_narrow_values(q.device):
        return _fused(q, k, v, mask, scale)
    return _fused(q, k, _pad(v, q), mask, scale)[..., : v.shape[-1]]


@constant_result
def _takes_narrow_values(device: torch.device) -> tuple[torch.dtype, ...]:
    """The dtypes in which the kernel that PyTorch prefers on a device is fast with values of fewer channels
    than queries: cuDNN's, which it prefers on Hopper and Blackwell."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) in ((9, 0), (10, 0)):
        return torch.bfloat16, torch.float16
    return ()


def _centred(q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask, features: Tensor, scale: float) -> Tensor:
    texts, width = len(q), v.shape[-1]
    q = _widen(q, q.new_ones(1))
    v = _pad(v, q)
    # The softmax does not see what a whole row is shifted by, and its gradient would be nothing but rounding.
    origins = features.detach()

    def part(rows: slice, keys: slice) -> Tensor:
        count = rows.stop - rows.start
        blocks = -(-count // CENTRED_ROWS)
        size = -(-count // blocks)
        middle = mask.keys - mask.queries + rows.start + size // 2
        middles = origins[:, :, middle : middle + blocks * size : size].transpose(1, 2)[..., None]
        near = _widen(_repeated(k, keys, blocks), _repeated(features, keys, blocks) - middles)
        if blocks == 1:
            return _fused_part(q[:, :, rows], near[:, 0], v[:, :, keys], mask, rows, keys, scale)
        # Each block as if it were a text of its own.
        visible = None if mask.is_open(rows, keys) else _apart(mask.visible(rows, keys), blocks, texts)
        values = _repeated(v, keys, blocks).flatten(0, 1)
        queries = _apart(q[:, :, rows], blocks, texts)
        out = F.scaled_dot_product_attention(
            queries, near.flatten(0, 1), values, attn_mask=visible, scale=scale
        )
        joined: Tensor = out.unflatten(0, (texts, blocks)).transpose(1, 2).flatten(2, 3)
        return joined[:, :, :count]

    together = max(1, CENTRED_BLOCKS.get(q.device.type, 1) // texts)
    return _in_blocks(part, mask, CENTRED_ROWS * together, q, v)[..., :width]


def _repeated(x: Tensor, keys: slice, blocks: int) -> Tensor:
    """(B|1, H, K, …) to (B|1, blocks, H, K, …)."""
    return x[:, None, :, keys].expand(-1, blocks, -1, -1, -1)


def _apart(rows: Tensor, blocks: int, texts: int) -> Tensor:
    """(B|1, H|1, rows, …) to (B · blocks, H|1, size, …); what the last block lacks is filled up with ones."""
    spare = -rows.shape[2] % blocks
    if spare:
        rows = F.pad(rows, (0, 0, 0, spare), value=1)
    split = rows.unflatten(2, (blocks, -1)).transpose(1, 2)
    folded: Tensor = split.expand(texts, *split.shape[1:]).flatten(0, 1)
    return folded


def _blocked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: AttentionMask,
    bias: Dense,
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    keep = not torch.is_grad_enabled() or mask.queries <= RECOMPUTE_ABOVE

    def part(rows: slice, keys: slice) -> Tensor:
        block = partial(_block, bias.values, Block(rows, keys, mask.visible(rows, keys)), scale, softcap)
        parts = q[:, :, rows], k[:, :, keys], v[:, :, keys]
        out: Tensor = block(*parts) if keep else checkpoint(block, *parts, use_reentrant=False)
        return out

    return _in_blocks(part, mask, ROWS, q, v)


def _block(
    values: Callable[[Block], Tensor],
    block: Block,
    scale: float,
    softcap: float | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
) -> Tensor:
    exact = torch.promote_types(q.dtype, torch.float32)
    logits = q.to(exact) @ k.to(exact).transpose(-1, -2) * scale
    if softcap is not None:
        logits = softcap * (logits / softcap).tanh()
    logits = (logits + values(block)).masked_fill(~block.visible, float("-inf"))
    out: Tensor = logits.softmax(-1).to(v.dtype) @ v
    return out


def _widen(x: Tensor, features: Tensor) -> Tensor:
    """Appends features, broadcast to the leading dimensions of x, as further channels in its dtype, and as
    many zeros as the device wants."""
    if x.device.type == "cuda":
        aligned = ALIGNED_BYTES // x.element_size()
        features = F.pad(features, (0, -(x.shape[-1] + features.shape[-1]) % aligned))
    features = features.to(x.dtype).expand(*x.shape[:-1], features.shape[-1])
    # In memory the heads of a token lie side by side, as in the projections. Attention gives its output the
    # form of the queries, and in any other it would be copied before it is projected.
    return torch.cat([x.transpose(-3, -2), features.transpose(-3, -2)], dim=-1).transpose(-3, -2)


def _pad(v: Tensor, q: Tensor) -> Tensor:
    """Zero channels up to the width of the queries: with narrower values PyTorch falls back to the N×K
    path."""
    return F.pad(v, (0, q.shape[-1] - v.shape[-1]))


def _exact_products(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Features of six times the rank whose products in bfloat16 are those of the (…, r) float32 features but
    for the last of their bits: products of terms that are smaller than these are left out."""
    high, middle, low = _exact_terms(queries, torch.bfloat16).chunk(BF16_TERMS, dim=-1)
    their_high, their_middle, their_low = _exact_terms(keys, torch.bfloat16).chunk(BF16_TERMS, dim=-1)
    return (
        torch.cat((high, high, high, middle, middle, low), dim=-1),
        torch.cat((their_high, their_middle, their_low, their_high, their_middle, their_high), dim=-1),
    )


def _exact_terms(features: Tensor, dtype: torch.dtype) -> Tensor:
    """(…, BF16_TERMS·r): numbers of the given precision, the largest first, that add up to the float32
    features (…, r)."""
    # Bits are cut off, not rounded by a conversion there and back, which compilers take for nothing and leave
    # out: the first term would then be all there is, with the eight bits of its dtype.
    spare = 23 + round(math.log2(torch.finfo(dtype).eps))
    terms, rest = [], features.detach()
    for _ in range(BF16_TERMS):
        term = (rest.view(torch.int32) & -(1 << spare)).view(torch.float32)
        terms.append(term)
        rest = rest - term
    # What changes the features changes the first term, and what that leaves over stays as it is.
    terms[0] = features + (terms[0] - features).detach()
    return torch.cat(terms, dim=-1).to(dtype)
