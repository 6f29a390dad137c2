"""The kernels of `counted`, in Triton: attention with a bias that is looked up by a count, and its gradients.

Of query i and key j the count is p_ij = Σ_{t=j…i} σ(gate_scale·q_i·k_t), at most FARTHEST, and the bias is
the number at p_ij in a row of FARTHEST + 1 products of the query, between whole numbers interpolated.

A tile of queries goes through tiles of keys from its own to the left, until every count is at FARTHEST: keys
farther left, up to the `edge` of the tile, have one bias for each query, and their gates do not matter.

Shapes: N tokens, d channels of a head. D, WIDTH and EVEN as in `tile_kernels`. All tiles are of queries ×
keys: a lookup is fast where a row of a tile reads one row of products.
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

EDGES = tl.constexpr(256)
"""Edges of queries that are read at a time."""


@triton.jit
def _gates(products, seen, gate_scale):
    """By which a query counts each key; zero where it does not see it."""
    return tl.where(seen, tl.sigmoid(products * gate_scale), 0.0)


@triton.jit
def _later(one, other):
    """A sum that leaves numbers as they are. Triton lays out what follows it as what that is used with."""
    return other


@triton.jit
def _sums(one, other, more, further):
    """Two sums at a time, for the second to be laid out as the first."""
    return one + more, other + further


@triton.jit
def _counts(gates, right, key):
    """The count at each key of a tile, from what has been counted on its right. That enters the sum with the
    last key: added to all counts, it would give them the layout of products, and the lookups after them."""
    last = key == tl.max(key, 0)
    return tl.cumsum(gates + tl.where(last[None, :], right[:, None], 0.0), 1, reverse=True)


@triton.jit
def _logits(queries, keys, bias, scale, PRECISION: tl.constexpr):
    """scale·q·k + bias. The product is made anew around the bias: where that is added to the product that
    gates came from, Triton lays out all that follows as it does lookups, each row spread over a warp."""
    return scale * tl.dot(queries, tl.trans(keys), bias / scale, input_precision=PRECISION)


@triton.jit
def _looked_up(table, query, key, t_token, count, length, FARTHEST: tl.constexpr):
    """By query and key the bias and its slope by the count; by key and query the floor of the count, its
    share of the next number, and where both are read.

    Args:
        table: products of the queries of a head. t_token: from those of one query to the next.
        count: (queries, keys), not negative.
    """
    # Turned round, since Triton lets neighbouring threads read along the first axis where it knows of no
    # order: keys of one query, whose numbers lie close together.
    count = tl.trans(tl.minimum(count, FARTHEST))
    seen = (key[:, None] <= query[None, :]) & (query[None, :] < length)
    floor = count.to(tl.int32)
    share = count - floor.to(tl.float32)
    between = seen & (share > 0)
    at = query[None, :] * t_token + floor
    here = tl.load(table + at, mask=seen, other=0.0)
    further = tl.load(table + at + 1, mask=between, other=0.0)
    # At whole counts floor and ceiling are one, and so the slope is zero there, as it is past the last.
    slope = tl.where(between, further - here, 0.0)
    return tl.trans(here + share * slope), tl.trans(slope), floor, share, seen


@triton.jit
def forward(
    q, k, v, table, out, log_sums, edges,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token,
    t_text, t_head, t_token, o_text, o_head, o_token,
    heads, length, scale, gate_scale,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    FARTHEST: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """A tile of queries, and their edge."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    q += text * q_text + head * q_head
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    table += text * t_text + head * t_head
    out += text * o_text + head * o_head
    log_sums += both.to(tl.int64) * length
    edges += both.to(tl.int64) * length
    query = start + tl.arange(0, QUERIES)
    queries = rows(q, query, q_token, length, EVEN, D, WIDTH)
    total, sums, most = before_all_keys(QUERIES, WIDTH)
    counted = tl.zeros([QUERIES], dtype=tl.float32)
    least = tl.min(counted)
    edge = (tl.minimum(length, start + QUERIES) + KEYS - 1) // KEYS * KEYS
    while (edge > 0) & (least < FARTHEST):
        edge -= KEYS
        key = edge + tl.arange(0, KEYS)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        seen = causal(query, key, length)
        gates = _gates(products, seen, gate_scale)
        count = _counts(gates, counted, key)
        counted += tl.sum(gates, 1)
        least = tl.min(tl.where(query < length, counted, FARTHEST))
        bias, _, _, _, _ = _looked_up(table, query, key, t_token, count, length, FARTHEST)
        logits = tl.where(seen, _logits(queries, keys, bias, scale, PRECISION), NEVER)
        weights, less, sums, most = weigh(logits, sums, most)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        total = total * less[:, None]
        total = tl.dot(weights.to(values.dtype), values, total, input_precision=PRECISION)
    last = number(table + FARTHEST, query * t_token, length * t_token, EVEN)
    for begin in range(0, edge, KEYS):
        key = begin + tl.arange(0, KEYS)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        # To base 2 already, which `weigh` would make them.
        logits = (products * scale + last[:, None]) * LOG2_E
        highest = tl.maximum(most, tl.max(logits, 1))
        weights = tl.exp2(logits - highest[:, None])
        less = tl.exp2(most - highest)
        sums = sums * less + tl.sum(weights, 1)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        total = total * less[:, None]
        total = tl.dot(weights.to(values.dtype), values, total, input_precision=PRECISION)
        most = highest
    put(out, total / sums[:, None], query, o_token, length, EVEN, D, WIDTH)
    tl.store(log_sums + query, most + tl.log2(sums), mask=query < length)
    tl.store(edges + query, tl.zeros([QUERIES], dtype=tl.int32) + edge, mask=query < length)


@triton.jit
def of_queries_and_products(
    q, k, v, table, gradient, log_sums, means, edges, of_q, of_table, counts, slopes,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token,
    t_text, t_head, t_token, g_text, g_head, g_token, oq_text, oq_head, oq_token,
    ot_text, ot_head, ot_token,
    heads, length, scale, gate_scale,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    FARTHEST: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of queries and of its products. For the gradients of keys it leaves behind, by
    tile of keys from the edge on and by query, the count of what lies to the right of that tile, and the sum
    of the gradients of all counts to the left of it."""
    start = first_query(QUERIES)
    text, head, both = text_and_head(heads)
    k += text * k_text + head * k_head
    v += text * v_text + head * v_head
    table += text * t_text + head * t_head
    of_table += text * ot_text + head * ot_head
    counts += both.to(tl.int64) * tl.cdiv(length, KEYS) * length
    slopes += both.to(tl.int64) * tl.cdiv(length, KEYS) * length
    query = start + tl.arange(0, QUERIES)
    inside = query < length
    queries = rows(q + text * q_text + head * q_head, query, q_token, length, EVEN, D, WIDTH)
    above = rows(gradient + text * g_text + head * g_head, query, g_token, length, EVEN, D, WIDTH)
    log_sum = number(log_sums + both.to(tl.int64) * length, query, length, EVEN)
    mean = number(means + both.to(tl.int64) * length, query, length, EVEN)
    edge = tl.load(edges + both.to(tl.int64) * length + start)
    high = tl.minimum(length, start + QUERIES)
    of_queries = tl.zeros([QUERIES, WIDTH], dtype=tl.float32)
    of_last = tl.zeros([QUERIES], dtype=tl.float32)
    last = number(table + FARTHEST, query * t_token, length * t_token, EVEN)
    for begin in range(0, edge, KEYS):
        key = begin + tl.arange(0, KEYS)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        weights = tl.exp2((products * scale + last[:, None]) * LOG2_E - log_sum[:, None])
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        of_logits = weights * (of_weights - mean[:, None])
        of_last += tl.sum(of_logits, 1)
        of_queries = tl.dot(of_logits.to(keys.dtype), keys, of_queries, input_precision=PRECISION)
    of_queries *= scale
    of_final = tl.zeros([QUERIES], dtype=tl.float32)
    # Counts begin at the right, and the sums of their gradients at the left. What is counted on the right of
    # a tile as a difference of sums would lose digits where little is counted.
    right = tl.zeros([QUERIES], dtype=tl.float32)
    for back in range(tl.cdiv(high - edge, KEYS)):
        begin = edge + (tl.cdiv(high - edge, KEYS) - 1 - back) * KEYS
        key = begin + tl.arange(0, KEYS)
        tl.store(counts + begin // KEYS * length + query, right, mask=inside)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        right += tl.sum(_gates(products, causal(query, key, length), gate_scale), 1)
    # They are read by other threads than those that have written them.
    tl.debug_barrier()
    sloped = tl.zeros([QUERIES], dtype=tl.float32)
    for begin in tl.range(edge, high, KEYS, num_stages=1):
        key = begin + tl.arange(0, KEYS)
        keys = rows(k, key, k_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        seen = causal(query, key, length)
        gates = _gates(products, seen, gate_scale)
        place = begin // KEYS * length + query
        right = tl.load(counts + place, mask=inside, other=0.0)
        tl.store(slopes + place, sloped, mask=inside)
        count = _counts(gates, right, key)
        bias, slope, floor, share, there = _looked_up(table, query, key, t_token, count, length, FARTHEST)
        logits = _logits(queries, keys, bias, scale, PRECISION)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        weights = tl.where(seen, weights, 0.0)
        values = rows(v, key, v_token, length, EVEN, D, WIDTH)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        of_logits = weights * (of_weights - mean[:, None])
        # A query's row of the table is this program's own: nobody else adds to it.
        at = of_table + query[None, :] * ot_token + floor
        turned = tl.trans(tl.associative_scan(of_logits, 1, _later))
        tl.atomic_add(at, turned * (1 - share), mask=there & (floor < FARTHEST), sem="relaxed")
        tl.atomic_add(at + 1, turned * share, mask=there & (share > 0), sem="relaxed")
        of_counts = turned * tl.trans(slope)
        of_gates = sloped[:, None] + tl.trans(tl.cumsum(of_counts, 0))
        final = tl.where(floor < FARTHEST, 0.0, turned)
        more, farther = tl.reduce((of_counts, final), 0, _sums)
        sloped += more
        of_final += farther
        of_products = of_logits * scale + of_gates * gates * (1 - gates) * gate_scale
        of_queries = tl.dot(of_products.to(keys.dtype), keys, of_queries, input_precision=PRECISION)
    put(of_q + text * oq_text + head * oq_head, of_queries, query, oq_token, length, EVEN, D, WIDTH)
    tl.atomic_add(of_table + query * ot_token + FARTHEST, of_last + of_final, mask=inside, sem="relaxed")


@triton.jit
def of_keys_and_values(
    q, k, v, table, gradient, log_sums, means, edges, counts, slopes, of_k, of_v,
    q_text, q_head, q_token, k_text, k_head, k_token, v_text, v_head, v_token,
    t_text, t_head, t_token, g_text, g_head, g_token,
    ok_text, ok_head, ok_token, ov_text, ov_head, ov_token,
    heads, length, scale, gate_scale,
    EVEN: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    FARTHEST: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile of keys and values."""
    start = tl.program_id(0) * KEYS
    text, head, both = text_and_head(heads)
    q += text * q_text + head * q_head
    table += text * t_text + head * t_head
    gradient += text * g_text + head * g_head
    log_sums += both.to(tl.int64) * length
    means += both.to(tl.int64) * length
    edges += both.to(tl.int64) * length
    counts += (both.to(tl.int64) * tl.cdiv(length, KEYS) + tl.program_id(0)) * length
    slopes += (both.to(tl.int64) * tl.cdiv(length, KEYS) + tl.program_id(0)) * length
    key = start + tl.arange(0, KEYS)
    keys = rows(k + text * k_text + head * k_head, key, k_token, length, EVEN, D, WIDTH)
    values = rows(v + text * v_text + head * v_head, key, v_token, length, EVEN, D, WIDTH)
    # The last query that counts these keys.
    reach = tl.zeros([EDGES], dtype=tl.int32)
    for begin in range(start, length, EDGES):
        query = begin + tl.arange(0, EDGES)
        edge = tl.load(edges + query, mask=query < length, other=length)
        reach = tl.where((edge <= start) & (query < length), query, reach)
    whole = (tl.max(reach, 0) // QUERIES + 1) * QUERIES
    of_keys = tl.zeros([KEYS, WIDTH], dtype=tl.float32)
    of_values = tl.zeros([KEYS, WIDTH], dtype=tl.float32)
    for begin in range(whole, length, QUERIES):
        query = begin + tl.arange(0, QUERIES)
        queries = rows(q, query, q_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        last = number(table + FARTHEST, query * t_token, length * t_token, EVEN)
        log_sum = number(log_sums, query, length, EVEN)
        weights = tl.exp2((products * scale + last[:, None]) * LOG2_E - log_sum[:, None])
        above = rows(gradient, query, g_token, length, EVEN, D, WIDTH)
        of_values = tl.dot(tl.trans(weights.to(above.dtype)), above, of_values, input_precision=PRECISION)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        mean = number(means, query, length, EVEN)
        of_logits = weights * (of_weights - mean[:, None])
        of_keys = tl.dot(tl.trans(of_logits.to(queries.dtype)), queries, of_keys, input_precision=PRECISION)
    of_keys *= scale
    for begin in tl.range(start // QUERIES * QUERIES, tl.minimum(whole, length), QUERIES, num_stages=1):
        query = begin + tl.arange(0, QUERIES)
        queries = rows(q, query, q_token, length, EVEN, D, WIDTH)
        products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        seen = causal(query, key, length)
        gates = _gates(products, seen, gate_scale)
        edge = tl.load(edges + query, mask=query < length, other=length)
        # Of other queries nothing has been left behind.
        counting = (edge <= start) & (query >= start)
        right = tl.load(counts + query, mask=counting, other=FARTHEST)
        sloped = tl.load(slopes + query, mask=counting, other=0.0)
        count = _counts(gates, right, key)
        bias, slope, _, _, _ = _looked_up(table, query, key, t_token, count, length, FARTHEST)
        log_sum = number(log_sums, query, length, EVEN)
        logits = _logits(queries, keys, bias, scale, PRECISION)
        weights = tl.exp2(logits * LOG2_E - log_sum[:, None])
        weights = tl.where(seen, weights, 0.0)
        above = rows(gradient, query, g_token, length, EVEN, D, WIDTH)
        of_values = tl.dot(tl.trans(weights.to(above.dtype)), above, of_values, input_precision=PRECISION)
        of_weights = tl.dot(above, tl.trans(values), input_precision=PRECISION)
        mean = number(means, query, length, EVEN)
        of_logits = weights * (of_weights - mean[:, None])
        of_gates = sloped[:, None] + tl.cumsum(of_logits * slope, 1)
        of_products = of_logits * scale + of_gates * gates * (1 - gates) * gate_scale
        of_keys = tl.dot(tl.trans(of_products.to(queries.dtype)), queries, of_keys, input_precision=PRECISION)
    put(of_k + text * ok_text + head * ok_head, of_keys, key, ok_token, length, EVEN, D, WIDTH)
    put(of_v + text * ov_text + head * ov_head, of_values, key, ov_token, length, EVEN, D, WIDTH)
