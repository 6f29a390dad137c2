"""Attention with a bias that is looked up by a count of keys, by kernels of our own for CUDA.

Gates, counts and lookups stay in registers, tile by tile. The forward pass goes from each tile of queries to
the left and carries the count. The way back for queries does so once more and then goes to the right, and
leaves behind what the way back for keys needs to begin anywhere: 2·N·N/32 numbers a head. Where all counts of
a tile of queries have come to their last number, what lies farther left is plain attention.

The gradient of the products is added to memory number by number, each row by one program; in which order is
left to the device, so that repeated runs may differ in the last bits.

`COUNTED_FROM` in `kernels` says from how many tokens on they are chosen.

Products are of bfloat16, or of float32 as three products of TF32, and are summed in float32, as is all else.

Shapes: B texts, H heads, N queries and as many keys, d channels of a head, P numbers that are looked up.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from pebench.attention import counted_kernels as kernels
from pebench.attention.mean_gradients import mean_gradients
from pebench.attention.tiles import Tile, by_head, compiled_for, rowwise, strides

TILES = {
    "forward": Tile(64, 32, 4, 2, registers=168),
    "queries": Tile(64, 32, 4, 3),
    "keys": Tile(64, 32, 4, 2, registers=128),
}
"""By kernel: the forward pass, and the gradients of queries with products, and of keys with values. The sides
of those on the way back divide those of the forward pass, and both have the same keys. Measured on an H200,
12 heads, 32 texts of 1,024 tokens: 0.67, 1.54 and 1.31 ms; without bounds of registers the first and the last
take 1.11 and 1.94 ms."""

WIDE_TILES = {
    "forward": Tile(64, 32, 4, 1),
    "queries": Tile(32, 32, 4, 1),
    "keys": Tile(32, 32, 4, 1),
}
"""The same for heads of more than 64 channels, and for float32."""


def attend_counting(
    q: Tensor, k: Tensor, v: Tensor, products: Tensor, *, scale: float, gate_scale: float
) -> Tensor:
    """(B, H, N, d) causal softmax(scale·q·k + bias)·v. The bias of query i and key j is products[i, p] at
    p = Σ_{t=j…i} σ(gate_scale·q_i·k_t), at most P − 1, and between whole numbers interpolated linearly.

    Args:
        q: (B, H, N, d) bfloat16, float16 or float32.
        k: as q.
        v: as q.
        products: (B, H, N, P) float32.
        scale: of q·k in the logits. gate_scale: likewise in the gates.
    """
    found: tuple[Tensor, ...] = _attend(q, k, v, products, scale, gate_scale)
    return found[0]


@torch.library.custom_op("pebench::attend_counting", mutates_args=())
def _attend(
    q: Tensor, k: Tensor, v: Tensor, products: Tensor, scale: float, gate_scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and two numbers of each query, (B, H, N): the logarithm of the sum of its softmax to base
    2, and the first key that it counts one by one."""
    q, k, v, products = (rowwise(x) for x in (q, k, v, products))
    texts, heads, length, _ = q.shape
    out, sums = torch.empty_like(q), q.new_empty(texts, heads, length, dtype=torch.float32)
    edges = torch.empty_like(sums, dtype=torch.int32)
    tile = _tiles(q)["forward"]
    kernels.forward[by_head(q, tile.queries)](
        *(q, k, v, products, out, sums, edges),
        *strides(q, k, v, products, out),
        *(heads, length, scale, gate_scale),
        **_compiled_for(q, products),
        **tile.launch(),
    )
    return out, sums, edges


@_attend.register_fake
def _(q: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    sums = q.new_empty(q.shape[:3], dtype=torch.float32)
    return torch.empty_like(q), sums, torch.empty_like(sums, dtype=torch.int32)


@torch.library.custom_op("pebench::attend_counting_backward", mutates_args=())
def _gradients(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    products: Tensor,
    out: Tensor,
    sums: Tensor,
    edges: Tensor,
    scale: float,
    gate_scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of queries, keys, values and products."""
    q, k, v, gradient, table = (rowwise(x) for x in (q, k, v, gradient, products))
    texts, heads, length, _ = q.shape
    of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
    of_products = torch.zeros_like(table)
    tiles, known = _tiles(q), _compiled_for(q, table)
    means = mean_gradients(out, gradient)
    tile = tiles["queries"]
    counts, slopes = sums.new_empty(2, texts, heads, triton.cdiv(length, tile.keys), length)
    kernels.of_queries_and_products[by_head(q, tile.queries)](
        *(q, k, v, table, gradient, sums, means, edges, of_q, of_products, counts, slopes),
        *strides(q, k, v, table, gradient, of_q, of_products),
        *(heads, length, scale, gate_scale),
        **known,
        **tile.launch(),
    )
    tile = tiles["keys"]
    kernels.of_keys_and_values[by_head(q, tile.keys)](
        *(q, k, v, table, gradient, sums, means, edges, counts, slopes, of_k, of_v),
        *strides(q, k, v, table, gradient, of_k, of_v),
        *(heads, length, scale, gate_scale),
        **known,
        **tile.launch(),
    )
    return of_q, of_k, of_v, of_products


@_gradients.register_fake
def _(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, products: Tensor, *rest: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), torch.empty_like(products)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, products, *ctx.setting = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(q, k, v, products, *output)


def _backward(ctx: Any, gradient: Tensor, *of_numbers: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(gradient, *ctx.saved_tensors, *ctx.setting), None, None


_attend.register_autograd(_backward, setup_context=_keep)


def _tiles(q: Tensor) -> dict[str, Tile]:
    return TILES if q.shape[3] <= 64 and q.element_size() == 2 else WIDE_TILES


def _compiled_for(q: Tensor, products: Tensor) -> dict[str, Any]:
    """What a kernel is compiled for beside its tile."""
    return compiled_for(q) | {"FARTHEST": products.shape[3] - 1}
