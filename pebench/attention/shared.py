"""Attention with a bias that all texts share, by kernels of our own for CUDA.

A bias by distance is read as a table in which each row of a tile finds its numbers side by side: the curve
of a head, shifted by one from row to row, so that no number is looked up by itself. Any other bias is read
from the whole matrix of a head. The gradient of the bias is summed over the texts in registers, a tile of
queries × keys at a time, before it is added to memory; in which order tiles of one distance are added is
left to the device, so that repeated runs differ in the last bits.

`SHARED_FROM` in `kernels` says from how many tokens on they are chosen.

Products are of bfloat16, or of float32 as three products of TF32, and are summed in float32, as is all
else.

Shapes: B texts, H heads, N queries and as many keys, d channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from pebench.attention import shared_kernels as kernels
from pebench.attention.mean_gradients import mean_gradients
from pebench.attention.tiles import Tile, by_head, compiled_for, rounded_up, rowwise, strides

TEXTS = 16
"""Whose gradients of the bias one program sums: of 32 texts two programs share a tile, so that there are
enough of them for a GPU."""


TILES = {
    "forward": Tile(64, 64, 4, 3),
    "keys": Tile(64, 64, 4, 2),
    "queries": Tile(64, 64, 4, 2),
    "bias": Tile(64, 64, 4, 2),
}
"""By kernel: the forward pass, and the gradients of keys and values, of queries, and of the bias. Compiled
for Hopper by Triton 3.6 none of them spills registers, and two or three programs share a multiprocessor."""

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
    found: tuple[Tensor, Tensor] = _attend(q, k, v, bias, key_mask, causal, scale, window or 0)
    return found[0]


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
    q, k, v = (rowwise(x) for x in (q, k, v))
    texts, heads, length, _ = q.shape
    out, sums = torch.empty_like(q), q.new_empty(texts, heads, length, dtype=torch.float32)
    tile = _tiles(q)["forward"]
    table, places = _by_query(bias, length, tile.queries)
    kernels.forward[by_head(q, tile.queries)](
        *(q, k, v, table, _bytes(key_mask, q), out, sums),
        *strides(q, k, v, out),
        *places,
        *(heads, length, scale),
        **_seen_as(causal, window, key_mask, q),
        **tile.launch(),
    )
    return out, sums


@_attend.register_fake
def _(q: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
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
    q, k, v, gradient = (rowwise(x) for x in (q, k, v, gradient))
    texts, heads, length, _ = q.shape
    of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
    of_bias = torch.zeros_like(bias, memory_format=torch.contiguous_format)
    padding, tiles = _bytes(key_mask, q), _tiles(q)
    seen = _seen_as(causal, window, key_mask, q)
    means = mean_gradients(out, gradient)
    tile = tiles["keys"]
    table, places = _by_key(bias, length, tile.keys)
    kernels.of_keys_and_values[by_head(q, tile.keys)](
        *(q, k, v, table, padding, gradient, sums, means, of_k, of_v),
        *strides(q, k, v, gradient, of_k, of_v),
        *places,
        *(heads, length, scale),
        **seen,
        **tile.launch(),
    )
    tile = tiles["queries"]
    by_query = {tile.queries: _by_query(bias, length, tile.queries)}
    table, places = by_query[tile.queries]
    kernels.of_queries_alone[by_head(q, tile.queries)](
        *(q, k, v, table, padding, gradient, sums, means, of_q),
        *strides(q, k, v, gradient, of_q),
        *places,
        *(heads, length, scale),
        **seen,
        **tile.launch(),
    )
    tile = tiles["bias"]
    table, places = by_query.get(tile.queries) or _by_query(bias, length, tile.queries)
    by_distance = bias.ndim == 2
    across = (triton.cdiv(length, tile.queries), triton.cdiv(length, tile.keys))
    kernels.of_shared_bias[(across[0] * across[1], heads, triton.cdiv(texts, TEXTS))](
        *(q, k, v, table, padding, gradient, sums, means, of_bias),
        *strides(q, k, v, gradient),
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
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *rest: object
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


def _bytes(key_mask: Tensor | None, q: Tensor) -> Tensor:
    """The mask as bytes; without one any tensor, which is not read."""
    return q if key_mask is None else key_mask.contiguous().view(torch.uint8)


def _seen_as(causal: bool, window: int, key_mask: Tensor | None, q: Tensor) -> dict[str, Any]:
    """What a kernel is compiled for beside its tile."""
    return compiled_for(q) | {"CAUSAL": causal, "WINDOW": window, "PADDED": key_mask is not None}


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
    whole = rounded_up(length)
    padded = F.pad(curve, (whole - length + rows, whole - length))
    table = padded.unfold(-1, 2 * whole, 1)[:, :rows].flip(1).contiguous()
    return table[..., whole:]
