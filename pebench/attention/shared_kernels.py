"""The kernels of `shared`, in Triton: softmax(scale·q·k + bias)·v tile by tile, and its gradients.

Shapes: N tokens, d channels of a head. D, WIDTH and EVEN as in `tile_kernels`.
"""

import triton
import triton.language as tl

from pebench.attention.softmax_kernels import before_all_keys, weigh
from pebench.attention.tile_kernels import LOG2_E, NEVER, first_query, number, put, rows, text_and_head


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
def _seen(query, key, padding, length, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr):
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
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
        logits += _bias(table, query, within, row_stride, key, length, EVEN)
        if MASKED:
            seen = _seen(query[:, None], key[None, :], padding, length, CAUSAL, WINDOW, PADDED)
            logits = tl.where(seen, logits, NEVER)
        weights, less, sums, most = weigh(logits, sums, most)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        total = total * less[:, None]
        total = tl.dot(weights.to(values.dtype), values, total, input_precision=PRECISION)
    return total, sums, most


@triton.jit
def forward(
    q, k, v, table, padding, out, log_sums,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, o_text, o_head, o_token,
    table_head, table_first, table_within,
    heads, length, scale,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """A tile of queries."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    q += text * q_text + head * q_head
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    out += text * o_text + head * o_head
    table += head * table_head + start * table_first
    padding += text * length
    log_sums += both.to(tl.int64) * length
    within = tl.arange(0, QUERIES)
    query = start + within
    queries = rows(q, query, q_token, length, EVEN, D, WIDTH)
    total, sums, most = before_all_keys(QUERIES, WIDTH)
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
    put(out, total / sums[:, None], query, o_token, length, EVEN, D, WIDTH)
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
        queries = rows(q, query, q_token, length, EVEN, D, WIDTH)
        logits = tl.dot(keys, tl.trans(queries), input_precision=PRECISION) * scale
        logits += _bias(table, key, within, row_stride, query, length, EVEN)
        log_sum = number(log_sums, query, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[None, :])
        if MASKED:
            seen = _seen(query[None, :], key[:, None], padding, length, CAUSAL, WINDOW, PADDED)
            weights = tl.where(seen, weights, 0.0)
        above = rows(gradient, query, g_token, length, EVEN, D, WIDTH)
        of_values = tl.dot(weights.to(above.dtype), above, of_values, input_precision=PRECISION)
        of_weights = tl.dot(values, tl.trans(above), input_precision=PRECISION)
        mean = number(means, query, length, EVEN)
        of_logits = weights * (of_weights - mean[None, :])
        of_keys = tl.dot(of_logits.to(queries.dtype), queries, of_keys, input_precision=PRECISION)
    return of_keys, of_values


@triton.jit
def of_keys_and_values(
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
    text, head, both = text_and_head(heads)
    q += text * q_text + head * q_head
    gradient += text * g_text + head * g_head
    table += head * table_head + start * table_first
    padding += text * length
    log_sums += both.to(tl.int64) * length
    means += both.to(tl.int64) * length
    within = tl.arange(0, KEYS)
    key = start + within
    keys = rows(k + text * k_text + head * k_head, key, k_token, length, EVEN, D, WIDTH)
    values = rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
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
    put(of_k + text * ok_text + head * ok_head, of_keys * scale, key, ok_token, length, EVEN, D, WIDTH)
    put(of_v + text * ov_text + head * ov_head, of_values, key, ov_token, length, EVEN, D, WIDTH)


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
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        logits += _bias(table, query, within, row_stride, key, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        if MASKED:
            seen = _seen(query[:, None], key[None, :], padding, length, CAUSAL, WINDOW, PADDED)
            weights = tl.where(seen, weights, 0.0)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        of_logits = weights * (of_weights - mean[:, None])
        of_queries = tl.dot(of_logits.to(keys.dtype), keys, of_queries, input_precision=PRECISION)
    return of_queries


@triton.jit
def of_queries_alone(
    q, k, v, table, padding, gradient, log_sums, means, of_q,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token, g_text, g_head, g_token,
    oq_text, oq_head, oq_token,
    table_head, table_first, table_within,
    heads, length, scale,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, PADDED: tl.constexpr, EVEN: tl.constexpr,
    D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of queries."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    table += head * table_head + start * table_first
    padding += text * length
    within = tl.arange(0, QUERIES)
    query = start + within
    queries = rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
    above = rows(gradient + text * g_text + head * g_head, query, g_token, length, EVEN, D, WIDTH)
    log_sum = number(log_sums + both.to(tl.int64) * length, query, length, EVEN)
    mean = number(means + both.to(tl.int64) * length, query, length, EVEN)
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
    put(of_q + text * oq_text + head * oq_head, of_queries * scale, query, oq_token, length, EVEN, D, WIDTH)


@triton.jit
def of_shared_bias(
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
    for added in range(tl.minimum(texts - begin, TEXTS).to(tl.int32)):
        text = begin + added
        queries = rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
        keys = rows(k + text * k_text + head * k_head, key, k_token, length, EVEN, D, WIDTH)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale + bias
        place = (text * heads + head) * length
        log_sum = number(log_sums + place, query, length, EVEN)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        if PADDED:
            here = padding + text * length
            also = _seen(query[:, None], key[None, :], here, length, CAUSAL, WINDOW, True)
            weights = tl.where(also, weights, 0.0)
        else:
            weights = tl.where(seen, weights, 0.0)
        above = rows(gradient + text * g_text + head * g_head, query, g_token, length, EVEN, D, WIDTH)
        values = rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        mean = number(means + place, query, length, EVEN)
        total += weights * (of_weights - mean[:, None])
    at = of_bias + head * of_head + of_first + query[:, None] * of_query + key[None, :] * of_key
    tl.atomic_add(at, total, mask=seen, sem="relaxed")
