"""The kernels of `adjusted`, in Triton: attention whose logits a network over the heads adjusts, and its
gradients.

Between them lie the logits of all heads in memory, (B, H, N, N), of which those are written and read that a
query sees. Kernels by head make them of queries and keys, and attend by them. Kernels by pair hold all heads
of a run of keys of one query at a time, as the columns of a matrix, so that the network is two products of
matrices. Such a run has one place in the tables by distance for all queries: the numbers of a table are read
once, and their gradients summed in registers, while a program goes from query to query.

Places in the logits of one text are numbers of 32 bits; `ADJUSTED_BYTES` in `kernels` keeps them below.

Shapes: B texts, H heads, N tokens, d channels of a head, U units of the network. D, WIDTH and EVEN as in
`tile_kernels`; HEADS and UNITS are the powers of two that hold H and U.
"""

import triton
import triton.language as tl

from pebench.attention.softmax_kernels import before_all_keys, weigh
from pebench.attention.tile_kernels import (
    LOG2_E,
    NEVER,
    causal,
    first_query,
    number,
    put,
    rows,
    text_and_head,
)


@triton.jit
def _pairs(x, query, key, length):
    """Where the numbers of queries and keys lie in the (N, N) matrix of a head."""
    return x + query[:, None] * length + key[None, :]


@triton.jit
def products(
    q, k, logits,
    q_text, q_head, q_token, k_text, k_head, k_token,
    heads, length, scale,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """scale·q·k of a tile of queries, with all keys that they see."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    k += text * k_text + head * k_head
    logits += both.to(tl.int64) * length * length
    query = start + tl.arange(0, QUERIES)
    queries = rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
    for begin in range(0, tl.minimum(length, start + QUERIES), KEYS):
        key = begin + tl.arange(0, KEYS)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        found = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        tl.store(_pairs(logits, query, key, length), found, mask=causal(query, key, length))


@triton.jit
def attended(
    logits, v, out, log_sums,
    v_text, v_head, v_token, o_text, o_head, o_token,
    heads, length,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """softmax(logits)·v of a tile of queries."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    v += text * v_text + head * v_head
    logits += both.to(tl.int64) * length * length
    query = start + tl.arange(0, QUERIES)
    total, sums, most = before_all_keys(QUERIES, WIDTH)
    for begin in range(0, tl.minimum(length, start + QUERIES), KEYS):
        key = begin + tl.arange(0, KEYS)
        seen = causal(query, key, length)
        here = tl.load(_pairs(logits, query, key, length), mask=seen, other=NEVER)
        weights, less, sums, most = weigh(here, sums, most)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        total = total * less[:, None]
        total = tl.dot(weights.to(values.dtype), values, total, input_precision=PRECISION)
    put(
        out + text * o_text + head * o_head,
        total / sums[:, None],
        *(query, o_token, length, EVEN, D, WIDTH),
    )
    tl.store(log_sums + both.to(tl.int64) * length + query, most + tl.log2(sums), mask=query < length)


@triton.jit
def of_values_and_logits(
    logits, v, gradient, log_sums, means, of_v,
    v_text, v_head, v_token, g_text, g_head, g_token, ov_text, ov_head, ov_token,
    heads, length,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of values, and in place of the logits of its keys their gradients."""
    start = tl.program_id(0) * KEYS
    text, head, both = text_and_head(heads)
    gradient += text * g_text + head * g_head
    log_sums += both.to(tl.int64) * length
    means += both.to(tl.int64) * length
    logits += both.to(tl.int64) * length * length
    key = start + tl.arange(0, KEYS)
    values = rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
    of_values = tl.zeros([KEYS, WIDTH], dtype=tl.float32)
    for begin in range(start // QUERIES * QUERIES, length, QUERIES):
        query = begin + tl.arange(0, QUERIES)
        seen = causal(query, key, length)
        at = _pairs(logits, query, key, length)
        here = tl.load(at, mask=seen, other=NEVER)
        log_sum = number(log_sums, query, length, EVEN)
        weights = tl.exp2(here * LOG2_E - log_sum[:, None])
        above = rows(gradient, query, g_token, length, EVEN, D, WIDTH)
        of_values = tl.dot(tl.trans(weights.to(above.dtype)), above, of_values, input_precision=PRECISION)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        mean = number(means, query, length, EVEN)
        tl.store(at, weights * (of_weights - mean[:, None]), mask=seen)
    put(of_v + text * ov_text + head * ov_head, of_values, key, ov_token, length, EVEN, D, WIDTH)


@triton.jit
def _table(x, number, numbers, place, length):
    """(numbers, places) of a table by distance, (numbers, 2N − 1) from −(N − 1) on.

    Args:
        number: the heads or units. place: N − 1 for a query's own key, and one less for each key before it.
    """
    at = x + number[:, None] * (2 * length - 1) + (2 * length - 2 - place)[None, :]
    return tl.load(at, mask=(number < numbers)[:, None] & (place < length)[None, :], other=0.0)


@triton.jit
def _matrix(x, row, rows, row_stride, column, columns, column_stride):
    """The weights of a layer, zero past the last of each side."""
    at = x + row[:, None] * row_stride + column[None, :] * column_stride
    return tl.load(at, mask=(row < rows)[:, None] & (column < columns)[None, :], other=0.0)


@triton.jit
def _reach(length, QUERIES: tl.constexpr, KEYS: tl.constexpr):
    """The places of a program, and the queries with keys at these places, from low to high."""
    start = tl.program_id(0) * KEYS
    begin = tl.program_id(1) * QUERIES
    low = tl.maximum(begin, length - start - KEYS)
    return start + tl.arange(0, KEYS), low, tl.minimum(length, begin + QUERIES)


@triton.jit
def _heads_of(query, place, head, heads, length):
    """Where the numbers of all heads for one query lie in the (H, N, N) matrices of a text, and which are
    there."""
    key = place + query - (length - 1)
    at = (head * length * length)[:, None] + (query * length + key)[None, :]
    return at, (head < heads)[:, None] & ((key >= 0) & (place < length))[None, :]


@triton.jit
def adjust(
    logits, adjusted, first, last, hidden, prior,
    heads, units, length, slope,
    HEADS: tl.constexpr, UNITS: tl.constexpr, PRECISION: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Adds to logits at some places of some queries what the network makes of them, and the bias."""
    place, low, high = _reach(length, QUERIES, KEYS)
    text = tl.program_id(2).to(tl.int64) * heads * length * length
    head, unit = tl.arange(0, HEADS), tl.arange(0, UNITS)
    inwards = _matrix(first, unit, units, heads, head, heads, 1)
    outwards = _matrix(last, head, heads, units, unit, units, 1)
    of_place = _table(hidden, unit, units, place, length)
    bias = _table(prior, head, heads, place, length)
    for query in range(low, high):
        at, there = _heads_of(query, place, head, heads, length)
        own = tl.load(logits + text + at, mask=there, other=0.0)
        before = tl.dot(inwards, own, of_place, input_precision=PRECISION)
        after = tl.where(before > 0, before, before * slope)
        found = tl.dot(outwards, after, bias, input_precision=PRECISION)
        tl.store(adjusted + text + at, found + own, mask=there)


@triton.jit
def of_adjusting(
    logits, of_adjusted, first, last, hidden, of_logits, of_first, of_last, of_hidden, of_prior,
    heads, units, length, slope, scale,
    HEADS: tl.constexpr, UNITS: tl.constexpr, PRECISION: tl.constexpr, BACK: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of the products that logits are `scale` times of, and those of weights and tables of the
    network, as far as they come from some places of some queries of one text.

    Args:
        of_first: (programs, H, U), turned round. of_last: likewise, as it is.
        of_hidden: (B, runs of queries, U, N) by place. of_prior: (B, runs of queries, H, N) likewise.
    """
    place, low, high = _reach(length, QUERIES, KEYS)
    text = tl.program_id(2).to(tl.int64) * heads * length * length
    head, unit = tl.arange(0, HEADS), tl.arange(0, UNITS)
    inwards = _matrix(first, unit, units, heads, head, heads, 1)
    inwards_back = _matrix(first, head, heads, 1, unit, units, heads)
    outwards_back = _matrix(last, unit, units, 1, head, heads, units)
    of_place = _table(hidden, unit, units, place, length)
    # Heads lie along the rows of both: there the warps share the other side, and the numbers they need.
    of_inwards = tl.zeros([HEADS, UNITS], dtype=tl.float32)
    of_outwards = tl.zeros([HEADS, UNITS], dtype=tl.float32)
    of_places = tl.zeros([UNITS, KEYS], dtype=tl.float32)
    of_bias = tl.zeros([HEADS, KEYS], dtype=tl.float32)
    for query in range(low, high):
        at, there = _heads_of(query, place, head, heads, length)
        own = tl.load(logits + text + at, mask=there, other=0.0)
        above = tl.load(of_adjusted + text + at, mask=there, other=0.0)
        before = tl.dot(inwards, own, of_place, input_precision=PRECISION)
        after = tl.where(before > 0, before, before * slope)
        of_after = tl.dot(outwards_back, above, input_precision=BACK)
        of_before = tl.where(before > 0, of_after, of_after * slope)
        of_inwards = tl.dot(own, tl.trans(of_before), of_inwards, input_precision=BACK)
        of_outwards = tl.dot(above, tl.trans(after), of_outwards, input_precision=BACK)
        of_places += of_before
        of_bias += above
        of_own = (above + tl.dot(inwards_back, of_before, input_precision=BACK)) * scale
        tl.store(of_logits + text + at, of_own.to(of_logits.dtype.element_ty), mask=there)
    run = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64)
    program = run * tl.num_programs(0) + tl.program_id(0)
    known = (head < heads)[:, None] & (unit < units)[None, :]
    at = program * units * heads + head[:, None] * units + unit[None, :]
    tl.store(of_first + at, of_inwards, mask=known)
    tl.store(of_last + at, of_outwards, mask=known)
    inside = (place < length)[None, :]
    at = run * units * length + unit[:, None] * length + place[None, :]
    tl.store(of_hidden + at, of_places, mask=(unit < units)[:, None] & inside)
    at = run * heads * length + head[:, None] * length + place[None, :]
    tl.store(of_prior + at, of_bias, mask=(head < heads)[:, None] & inside)
