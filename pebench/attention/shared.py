"""Attention with a bias that all texts share, as Triton kernels of our own for CUDA.

A bias by distance is read as a table in which each row of a block finds its numbers side by side: the curve
of a head, shifted by one from row to row, so that no number is looked up by itself. Any other bias is read
from the whole matrix of a head. The gradient of the bias is summed over the texts in registers, a tile of
queries × keys at a time, before it is added to memory; in which order tiles of one distance are added is left
to the device, so that repeated runs differ in the last bits.

None of this has been measured on a GPU: `SHARED_FROM` in `kernels` says from where on it is chosen, which is
nowhere. Its results were compared with those of blocks of queries in Triton's interpreter.

Products are of bfloat16, or of float32 as three products of TF32, and are summed in float32, as is all else.

Shapes: B texts, H heads, N queries and as many keys, d channels of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

ROUND = 128
"""Queries and keys that the sides of all tiles divide."""

TEXTS = 16
"""Whose gradients of the bias one program sums: of 32 texts two programs share a tile, so that there are
enough of them for a GPU."""

LOG2_E = tl.constexpr(1.4426950408889634)

NEVER = tl.constexpr(-1e30)
"""Logit of a key that is not seen. Finite, so that the difference of two is a number."""


class Tile(NamedTuple):
    """How a kernel is carried out.

    Attributes:
        queries: in a tile. keys: likewise. warps: of a program. stages: of its pipeline.
    """

    queries: int
    keys: int
    warps: int
    stages: int

    def launch(self) -> dict[str, int]:
        """As arguments of a kernel."""
        return {
            "QUERIES": self.queries,
            "KEYS": self.keys,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


TILES = {
    "forward": Tile(64, 64, 4, 3),
    "keys": Tile(64, 64, 4, 2),
    "queries": Tile(64, 64, 4, 2),
    "bias": Tile(64, 64, 4, 2),
}
"""By kernel: the forward pass, and the gradients of keys and values, of queries, and of the bias. Compiled for
Hopper by Triton 3.6 none of them spills registers, and two programs or three share a multiprocessor."""

WIDE_TILES = {
    "forward": Tile(64, 32, 4, 2),
    "keys": Tile(32, 64, 4, 1),
    "queries": Tile(64, 32, 4, 1),
    "bias": Tile(64, 32, 4, 1),
}
"""The same for heads of more than 64 channels in bfloat16, or more than 32 in float32."""


def attend_sharing_bias(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    *,
    causal: bool,
    scale: float,
    window: int | None = None,
    key_mask: Tensor | None = None,
) -> Tensor:
    """(B, H, N, d) softmax(scale·q·k + bias)·v; every query sees its own key.

    Args:
        q: (B, H, N, d) bfloat16, float16 or float32.
        k: as q.
        v: as q.
        bias: float32, (H, 2N − 1) by the distance i − j from −(N − 1) on, or (H, N, N).
        causal: whether a query sees no key behind its own.
        scale: of q·k.
        window: W, for |i − j| < W; None for all.
        key_mask: (B, N) bool, False for keys that only their own query sees; None for none.
    """
    out, _ = _attend(q, k, v, bias, key_mask, causal, scale, window or 0)
    return out


@torch.library.custom_op("pebench::attend_sharing_bias", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor]:
    """The output, and (B, H, N) logarithms of the sums of the softmax to base 2."""
    q, k, v = (_rowwise(x) for x in (q, k, v))
    texts, heads, length, _ = q.shape
    out, sums = torch.empty_like(q), q.new_empty(texts, heads, length, dtype=torch.float32)
    tile = _tiles(q)["forward"]
    table, places = _by_query(bias, length, tile.queries)
    grid = (triton.cdiv(length, tile.queries), texts * heads)
    _forward[grid](
        *(q, k, v, table, _bytes(key_mask, q), out, sums),
        *_strides(q, k, v, out),
        *places,
        *(heads, length, scale),
        **_seen_as(causal, window, key_mask, q),
        **tile.launch(),
    )
    return out, sums


@_attend.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    key_mask: Tensor | None,
    causal: bool,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("pebench::attend_sharing_bias_backward", mutates_args=())
def _gradients(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    key_mask: Tensor | None,
    out: Tensor,
    sums: Tensor,
    causal: bool,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of queries, keys, values and the bias."""
    q, k, v, gradient = (_rowwise(x) for x in (q, k, v, gradient))
    texts, heads, length, channels = q.shape
    of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
    of_bias = torch.zeros_like(bias, memory_format=torch.contiguous_format)
    padding, tiles = _bytes(key_mask, q), _tiles(q)
    seen = _seen_as(causal, window, key_mask, q)
    means = torch.empty_like(sums)
    rows = ROUND // 2
    _mean_gradients[(triton.cdiv(length, rows), texts * heads)](
        *(out, gradient, means),
        *_strides(out, gradient),
        *(heads, length),
        **{"D": channels, "WIDTH": seen["WIDTH"], "QUERIES": rows},
    )
    tile = tiles["keys"]
    table, places = _by_key(bias, length, tile.keys)
    _of_keys[(triton.cdiv(length, tile.keys), texts * heads)](
        *(q, k, v, table, padding, gradient, sums, means, of_k, of_v),
        *_strides(q, k, v, gradient, of_k, of_v),
        *places,
        *(heads, length, scale),
        **seen,
        **tile.launch(),
    )
    tile = tiles["queries"]
    by_query = {tile.queries: _by_query(bias, length, tile.queries)}
    table, places = by_query[tile.queries]
    _of_queries[(triton.cdiv(length, tile.queries), texts * heads)](
        *(q, k, v, table, padding, gradient, sums, means, of_q),
        *_strides(q, k, v, gradient, of_q),
        *places,
        *(heads, length, scale),
        **seen,
        **tile.launch(),
    )
    tile = tiles["bias"]
    table, places = by_query.get(tile.queries) or _by_query(bias, length, tile.queries)
    by_distance = bias.ndim == 2
    across = (triton.cdiv(length, tile.queries), triton.cdiv(length, tile.keys))
    _of_bias[(across[0] * across[1], heads, triton.cdiv(texts, TEXTS))](
        *(q, k, v, table, padding, gradient, sums, means, of_bias),
        *_strides(q, k, v, gradient),
        *places,
        *((of_bias.stride(0), 1, -1, length - 1) if by_distance else (*of_bias.stride(), 0)),
        *(texts, heads, length, scale, across[1]),
        **seen,
        TEXTS=TEXTS,
        **tile.launch(),
    )
    return of_q, of_k, of_v, of_bias


@_gradients.register_fake
def _(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    key_mask: Tensor | None,
    out: Tensor,
    sums: Tensor,
    causal: bool,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_bias = torch.empty_like(bias, memory_format=torch.contiguous_format)
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), of_bias


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, bias, key_mask, *ctx.setting = inputs
    ctx.save_for_backward(q, k, v, bias, key_mask, *output)


def _backward(ctx: Any, gradient: Tensor, of_sums: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(gradient, *ctx.saved_tensors, *ctx.setting), None, None, None, None


_attend.register_autograd(_backward, setup_context=_keep)


def _tiles(q: Tensor) -> dict[str, Tile]:
    return TILES if q.shape[3] * q.element_size() <= 128 else WIDE_TILES


def _rowwise(x: Tensor) -> Tensor:
    """With the channels of a token side by side."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _bytes(key_mask: Tensor | None, q: Tensor) -> Tensor:
    """The mask as bytes; without one any tensor, which is not read."""
    return q if key_mask is None else key_mask.contiguous().view(torch.uint8)


def _strides(*tensors: Tensor) -> list[int]:
    """Of texts, heads and tokens."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def _seen_as(causal: bool, window: int, key_mask: Tensor | None, q: Tensor) -> dict[str, Any]:
    """What a kernel is compiled for beside its tile."""
    return {
        "CAUSAL": causal,
        "WINDOW": window,
        "PADDED": key_mask is not None,
        "EVEN": q.shape[2] % ROUND == 0,
        "D": q.shape[3],
        "WIDTH": triton.next_power_of_2(q.shape[3]),
        "PRECISION": "tf32x3" if q.dtype == torch.float32 else "ieee",
    }


def _by_query(bias: Tensor, length: int, rows: int) -> tuple[Tensor, tuple[int, int, int]]:
    """The numbers of tiles of queries × keys, and their strides by head, by the first query of a tile, and
    by query within it; along the keys they are side by side."""
    if bias.ndim == 3:
        table = bias.contiguous()
        return table, (table.stride(0), table.stride(1), table.stride(1))
    table = _shifted(bias.flip(-1), length, rows)
    return table, (table.stride(0), -1, table.stride(1))


def _by_key(bias: Tensor, length: int, rows: int) -> tuple[Tensor, tuple[int, int, int]]:
    """The same by key, side by side along the queries."""
    if bias.ndim == 3:
        table = bias.mT.contiguous()
        return table, (table.stride(0), table.stride(1), table.stride(1))
    table = _shifted(bias, length, rows)
    return table, (table.stride(0), -1, table.stride(1))


def _shifted(curve: Tensor, length: int, rows: int) -> Tensor:
    """(H, rows, ·) of which [h, m, t] is curve[h, t − m + N − 1], for t that may be negative.

    Args:
        curve: (H, 2N − 1).
        length: N.
        rows: of a tile.
    """
    whole = -(-length // ROUND) * ROUND
    padded = F.pad(curve, (whole - length + rows, whole - length))
    table = padded.unfold(-1, 2 * whole, 1)[:, :rows].flip(1).contiguous()
    return table[..., whole:]


@triton.jit
def _rows(x, place, width, length, EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """(rows, WIDTH) vectors of tokens, zero past the last token and the last channel."""
    channel = tl.arange(0, WIDTH)
    at = x + place[:, None] * width + channel[None, :]
    if EVEN and D == WIDTH:
        return tl.load(at)
    return tl.load(at, mask=(place[:, None] < length) & (channel[None, :] < D), other=0.0)


@triton.jit
def _put(x, values, place, width, length, EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr):
    """Writes what `_rows` reads."""
    channel = tl.arange(0, WIDTH)
    at = x + place[:, None] * width + channel[None, :]
    values = values.to(x.dtype.element_ty)
    if EVEN and D == WIDTH:
        tl.store(at, values)
    else:
        tl.store(at, values, mask=(place[:, None] < length) & (channel[None, :] < D))


@triton.jit
def _number(x, place, length, EVEN: tl.constexpr):
    """One number a token."""
    if EVEN:
        return tl.load(x + place)
    return tl.load(x + place, mask=place < length, other=0.0)


@triton.jit
def _bias(table, row, within, row_stride, column, length, EVEN: tl.constexpr):
    """A tile of the bias.

    Args:
        table: of the head, moved on to the first row of the tile.
        row: (rows,) tokens. within: the same, from 0. row_stride: from one to the next.
        column: (columns,) tokens, whose numbers lie side by side.
    """
    at = table + within[:, None] * row_stride + column[None, :]
    if EVEN:
        return tl.load(at)
    return tl.load(at, mask=(row[:, None] < length) & (column[None, :] < length), other=0.0)


@triton.jit
def _seen(
    query, key, padding, length, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr
):
    """Whether each query sees each key; one is a row and the other a column."""
    seen = key < length
    if CAUSAL:
        seen = seen & (key <= query)
    if WINDOW > 0:
        seen = seen & (key - query < WINDOW) & (query - key < WINDOW)
    if PADDED:
        seen = seen & (tl.load(padding + key, mask=key < length, other=0) != 0)
    return (seen | (key == query)) & (query < length)


@triton.jit
def _keys_attended(
    total, sums, most, q, k, v, table, padding, query, within,
    k_token, v_token, row_stride, length, scale, low, high,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The running softmax of a tile of queries over keys from low to high."""
    for start in range(low, high, KEYS):
        start = tl.multiple_of(start, KEYS)
        key = start + tl.arange(0, KEYS)
        keys = _rows(k, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
        logits += _bias(table, query, within, row_stride, key, length, EVEN)
        if MASKED:
            seen = _seen(query[:, None], key[None, :], padding, length, CAUSAL, WINDOW, PADDED)
            logits = tl.where(seen, logits, NEVER)
        highest = tl.maximum(most, tl.max(logits, 1) * LOG2_E)
        weights = tl.exp2(logits * LOG2_E - highest[:, None])
        less = tl.exp2(most - highest)
        sums = sums * less + tl.sum(weights, 1)
        values = _rows(v, key, v_token, length, EVEN, D, WIDTH)
        total = total * less[:, None]
        total = tl.dot(weights.to(values.dtype), values, total, input_precision=PRECISION)
        most = highest
    return total, sums, most


@triton.jit
def _forward(
    q, k, v, table, padding, out, log_sums,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, o_text, o_head, o_token,
    table_head, table_first, table_within,
    heads, length, scale,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """A tile of queries."""
    # Those that see most keys first.
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * QUERIES
    both = tl.program_id(1)
    text, head = (both // heads).to(tl.int64), (both % heads).to(tl.int64)
    q += text * q_text + head * q_head
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    out += text * o_text + head * o_head
    table += head * table_head + start * table_first
    padding += text * length
    log_sums += both.to(tl.int64) * length
    within = tl.arange(0, QUERIES)
    query = start + within
    queries = _rows(q, query, q_token, length, EVEN, D, WIDTH)
    total = tl.zeros([QUERIES, WIDTH], dtype=tl.float32)
    sums = tl.zeros([QUERIES], dtype=tl.float32)
    most = tl.full([QUERIES], NEVER, dtype=tl.float32)
    low, whole, high = _reach(start, QUERIES, KEYS, length, CAUSAL, WINDOW, PADDED)
    total, sums, most = _keys_attended(
        total, sums, most, queries, k, v, table, padding, query, within,
        k_token, v_token, table_within, length, scale, low, whole,
        False, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, KEYS,
    )  # fmt: skip
    total, sums, most = _keys_attended(
        total, sums, most, queries, k, v, table, padding, query, within,
        k_token, v_token, table_within, length, scale, whole, high,
        True, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, KEYS,
    )  # fmt: skip
    _put(out, total / sums[:, None], query, o_token, length, EVEN, D, WIDTH)
    tl.store(log_sums + query, most + tl.log2(sums), mask=query < length)


@triton.jit
def _reach(
    start, QUERIES: tl.constexpr, KEYS: tl.constexpr, length,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """The keys that a tile of queries reaches: from the first on, up to where every query sees every key, and
    up to the end. All but the last are multiples of KEYS."""
    low, high = 0, length
    if CAUSAL:
        high = tl.minimum(length, start + QUERIES)
    if WINDOW > 0:
        low = tl.maximum(0, start - WINDOW + 1) // KEYS * KEYS
        high = tl.minimum(high, start + QUERIES + WINDOW)
    whole = low
    if WINDOW == 0 and not PADDED:
        whole = (start if CAUSAL else length) // KEYS * KEYS
    return low, whole, high


@triton.jit
def _mean_gradients(
    out, gradient, means,
    o_text, o_head, o_token, g_text, g_head, g_token,
    heads, length,
    D: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """Σ out·gradient of each query, which is the mean of the gradients of its weights."""
    both = tl.program_id(1)
    text, head = (both // heads).to(tl.int64), (both % heads).to(tl.int64)
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    found = _rows(out + text * o_text + head * o_head, query, o_token, length, False, D, WIDTH)
    above = _rows(gradient + text * g_text + head * g_head, query, g_token, length, False, D, WIDTH)
    mean = tl.sum(found.to(tl.float32) * above.to(tl.float32), 1)
    tl.store(means + both.to(tl.int64) * length + query, mean, mask=query < length)


@triton.jit
def _queries_gone_back(
    of_keys, of_values, keys, values, q, gradient, log_sums, means, table, padding, key, within,
    q_token, g_token, row_stride, length, scale, low, high,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    QUERIES: tl.constexpr,
):  # fmt: skip
    """Adds what queries from low to high give a tile of keys; tiles here are of keys × queries."""
    for start in range(low, high, QUERIES):
        start = tl.multiple_of(start, QUERIES)
        query = start + tl.arange(0, QUERIES)
        queries = _rows(q, query, q_token, length, EVEN, D, WIDTH)
        logits = tl.dot(keys, tl.trans(queries), input_precision=PRECISION) * scale
        logits += _bias(table, key, within, row_stride, query, length, EVEN)
        log_sum = _number(log_sums, query, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[None, :])
        if MASKED:
            seen = _seen(query[None, :], key[:, None], padding, length, CAUSAL, WINDOW, PADDED)
            weights = tl.where(seen, weights, 0.0)
        above = _rows(gradient, query, g_token, length, EVEN, D, WIDTH)
        of_values = tl.dot(weights.to(above.dtype), above, of_values, input_precision=PRECISION)
        of_weights = tl.dot(values, tl.trans(above), input_precision=PRECISION)
        mean = _number(means, query, length, EVEN)
        of_logits = weights * (of_weights - mean[None, :])
        of_keys = tl.dot(of_logits.to(queries.dtype), queries, of_keys, input_precision=PRECISION)
    return of_keys, of_values


@triton.jit
def _of_keys(
    q, k, v, table, padding, gradient, log_sums, means, of_k, of_v,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, g_text, g_head, g_token,
    ok_text, ok_head, ok_token, ov_text, ov_head, ov_token,
    table_head, table_first, table_within,
    heads, length, scale,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of keys and values."""
    start = tl.program_id(0) * KEYS
    both = tl.program_id(1)
    text, head = (both // heads).to(tl.int64), (both % heads).to(tl.int64)
    q += text * q_text + head * q_head
    gradient += text * g_text + head * g_head
    table += head * table_head + start * table_first
    padding += text * length
    log_sums += both.to(tl.int64) * length
    means += both.to(tl.int64) * length
    within = tl.arange(0, KEYS)
    key = start + within
    keys = _rows(k + text * k_text + head * k_head, key, k_token, length, EVEN, D, WIDTH)
    values = _rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
    of_keys = tl.zeros([KEYS, WIDTH], dtype=tl.float32)
    of_values = tl.zeros([KEYS, WIDTH], dtype=tl.float32)
    # Queries from low on, all of which see all keys from `whole` to `ragged`, up to high.
    low, high = 0, length
    if CAUSAL:
        low = start // QUERIES * QUERIES
    if WINDOW > 0:
        low = tl.maximum(low, (start - WINDOW + 1) // QUERIES * QUERIES)
        high = tl.minimum(high, start + KEYS + WINDOW)
    whole, ragged = high, high
    if WINDOW == 0 and not PADDED:
        whole, ragged = low, length // QUERIES * QUERIES
        if CAUSAL:
            whole = tl.minimum(ragged, (start + KEYS + QUERIES - 1) // QUERIES * QUERIES)
        if start + KEYS > length:
            whole, ragged = high, high
    of_keys, of_values = _queries_gone_back(
        of_keys, of_values, keys, values, q, gradient, log_sums, means, table, padding, key, within,
        q_token, g_token, table_within, length, scale, low, whole,
        True, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, QUERIES,
    )  # fmt: skip
    of_keys, of_values = _queries_gone_back(
        of_keys, of_values, keys, values, q, gradient, log_sums, means, table, padding, key, within,
        q_token, g_token, table_within, length, scale, whole, ragged,
        False, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, QUERIES,
    )  # fmt: skip
    of_keys, of_values = _queries_gone_back(
        of_keys, of_values, keys, values, q, gradient, log_sums, means, table, padding, key, within,
        q_token, g_token, table_within, length, scale, ragged, high,
        True, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, QUERIES,
    )  # fmt: skip
    _put(of_k + text * ok_text + head * ok_head, of_keys * scale, key, ok_token, length, EVEN, D, WIDTH)
    _put(of_v + text * ov_text + head * ov_head, of_values, key, ov_token, length, EVEN, D, WIDTH)


@triton.jit
def _keys_gone_back(
    of_queries, queries, above, log_sum, mean, k, v, table, padding, query, within,
    k_token, v_token, row_stride, length, scale, low, high,
    MASKED: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Adds what keys from low to high give a tile of queries."""
    for start in range(low, high, KEYS):
        start = tl.multiple_of(start, KEYS)
        key = start + tl.arange(0, KEYS)
        keys = _rows(k, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        logits += _bias(table, query, within, row_stride, key, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        if MASKED:
            seen = _seen(query[:, None], key[None, :], padding, length, CAUSAL, WINDOW, PADDED)
            weights = tl.where(seen, weights, 0.0)
        values = _rows(v, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        of_logits = weights * (of_weights - mean[:, None])
        of_queries = tl.dot(of_logits.to(keys.dtype), keys, of_queries, input_precision=PRECISION)
    return of_queries


@triton.jit
def _of_queries(
    q, k, v, table, padding, gradient, log_sums, means, of_q,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, g_text, g_head, g_token,
    oq_text, oq_head, oq_token,
    table_head, table_first, table_within,
    heads, length, scale,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of queries."""
    start = (tl.num_programs(0) - 1 - tl.program_id(0)) * QUERIES
    both = tl.program_id(1)
    text, head = (both // heads).to(tl.int64), (both % heads).to(tl.int64)
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    table += head * table_head + start * table_first
    padding += text * length
    within = tl.arange(0, QUERIES)
    query = start + within
    queries = _rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
    above = _rows(gradient + text * g_text + head * g_head, query, g_token, length, EVEN, D, WIDTH)
    log_sum = _number(log_sums + both.to(tl.int64) * length, query, length, EVEN)
    mean = _number(means + both.to(tl.int64) * length, query, length, EVEN)
    of_queries = tl.zeros([QUERIES, WIDTH], dtype=tl.float32)
    low, whole, high = _reach(start, QUERIES, KEYS, length, CAUSAL, WINDOW, PADDED)
    of_queries = _keys_gone_back(
        of_queries, queries, above, log_sum, mean, k, v, table, padding, query, within,
        k_token, v_token, table_within, length, scale, low, whole,
        False, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, KEYS,
    )  # fmt: skip
    of_queries = _keys_gone_back(
        of_queries, queries, above, log_sum, mean, k, v, table, padding, query, within,
        k_token, v_token, table_within, length, scale, whole, high,
        True, CAUSAL, WINDOW, PADDED, EVEN, D, WIDTH, PRECISION, KEYS,
    )  # fmt: skip
    _put(of_q + text * oq_text + head * oq_head, of_queries * scale, query, oq_token, length, EVEN, D, WIDTH)


@triton.jit
def _of_bias(
    q, k, v, table, padding, gradient, log_sums, means, of_bias,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, g_text, g_head, g_token,
    table_head, table_first, table_within,
    of_head, of_query, of_key, of_first,
    texts, heads, length, scale, across,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, TEXTS: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Adds the gradient of a tile of the bias of one head, of some texts."""
    first = tl.program_id(0) // across * QUERIES
    start = tl.program_id(0) % across * KEYS
    if CAUSAL and start >= first + QUERIES:
        return
    if WINDOW > 0 and (start >= first + QUERIES + WINDOW or first >= start + KEYS + WINDOW):
        return
    head = tl.program_id(1).to(tl.int64)
    within = tl.arange(0, QUERIES)
    query, key = first + within, start + tl.arange(0, KEYS)
    table += head * table_head + first * table_first
    bias = _bias(table, query, within, table_within, key, length, EVEN)
    seen = _seen(query[:, None], key[None, :], padding, length, CAUSAL, WINDOW, False)
    total = tl.zeros([QUERIES, KEYS], dtype=tl.float32)
    begin = tl.program_id(2).to(tl.int64) * TEXTS
    for number in range(0, tl.minimum(texts - begin, TEXTS).to(tl.int32)):
        text = begin + number
        queries = _rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
        keys = _rows(k + text * k_text + head * k_head, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale + bias
        place = (text * heads + head) * length
        log_sum = _number(log_sums + place, query, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        if PADDED:
            here = padding + text * length
            also = _seen(query[:, None], key[None, :], here, length, CAUSAL, WINDOW, True)
            weights = tl.where(also, weights, 0.0)
        else:
            weights = tl.where(seen, weights, 0.0)
        above = _rows(gradient + text * g_text + head * g_head, query, g_token, length, EVEN, D, WIDTH)
        values = _rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        mean = _number(means + place, query, length, EVEN)
        total += weights * (of_weights - mean[:, None])
    at = of_bias + head * of_head + of_first + query[:, None] * of_query + key[None, :] * of_key
    tl.atomic_add(at, total, mask=seen, sem="relaxed")
