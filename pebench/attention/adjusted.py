"""Attention whose logits a network over the heads adjusts, by kernels of our own for CUDA.

The logits of all heads are written to memory, then those of each pair are adjusted together, then attended
by. The network is so small, and its products fill matrices so well, that the way through memory takes most of
the time: on an H200 half a millisecond for 12 heads of 32 texts of 1,024 tokens and each time that they are
written and read. The way back makes logits and adjusted logits anew; between forward and back nothing is kept
but the output and the sums of the softmax. Texts are taken in groups, so that their logits fill no more than
GROUP_BYTES, of which the way back holds two and a half at a time.

Gradients of the network and of its tables are partial sums of each program that are added in one order:
repeated runs give equal numbers.

`ADJUSTED_FROM` in `kernels` says from how many tokens on they are chosen.

Products of tokens are of bfloat16, or of float32 as three products of TF32. Those of the network are three
products of TF32 wherever they make logits; of gradients that end in bfloat16, one. All sums are in float32.

Shapes: B texts, H heads, N queries and as many keys, d channels of a head, U units of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from pebench.attention import adjusted_kernels as kernels
from pebench.attention.mean_gradients import mean_gradients
from pebench.attention.tiles import Tile, by_head, compiled_for, rowwise, strides

GROUP_BYTES = 1 << 30
"""Of the float32 logits of texts that are gone through together; one text may have more."""

TILES = {
    "products": Tile(64, 128, 4, 2),
    "attended": Tile(64, 32, 4, 3),
    "values": Tile(64, 64, 4, 2),
}
"""By kernel that takes one head: products of queries and keys, the attention by logits, and the gradients of
values with those of logits. The fastest on an H200 of six to eight that were tried of each, in bfloat16 with
12 heads and 32 texts of 1,024 tokens: 0.9, 0.5 and 0.8 ms a layer, forward and back."""

WIDE_TILES = {
    "products": Tile(64, 32, 4, 1),
    "attended": Tile(64, 32, 4, 1),
    "values": Tile(64, 32, 8, 1),
}
"""The same for heads of more than 64 channels, and for float32."""

PAIR_TILES = {
    "adjust": Tile(32, 64, 4, 2),
    "back": Tile(64, 32, 4, 2),
}
"""By kernel that takes all heads, of so many keys of one query, and goes through so many queries: the network
and its way back. On an H200 the network takes 2.7 ms a layer, likewise."""

SMALL_PAIR_TILES = PAIR_TILES | {"back": Tile(64, 128, 4, 1)}
"""The same for at most 16 heads whose gradients end in half precision: the way back takes 2.8 ms a layer in
place of 4.1."""

SMALL_HEADS = 16
"""The most heads of these."""

LEAST = 16
"""Of each side of a product of matrices."""


class Weights(NamedTuple):
    """Of the network and of the bias, in float32. The tables are by the distance i − j from −(N − 1) on.

    Attributes:
        first: (U, H) of the logits in the units. last: (H, U) of the units in what is added.
        hidden: (U, 2N − 1) what the units have beside the logits.
        prior: (H, 2N − 1) what is added beside what the units give.
    """

    first: Tensor
    last: Tensor
    hidden: Tensor
    prior: Tensor


def attend_adjusting(
    q: Tensor, k: Tensor, v: Tensor, weights: Weights, *, scale: float, slope: float
) -> Tensor:
    """(B, H, N, d) causal softmax(x + last·LeakyReLU(first·x + hidden) + prior)·v with the logits
    x = scale·q·k, of which the network takes those of all heads for one pair.

    Args:
        q: (B, H, N, d) bfloat16, float16 or float32.
        k: as q.
        v: as q.
        weights: of the network and of the bias.
        scale: of q·k. slope: of the LeakyReLU below zero.
    """
    found: tuple[Tensor, Tensor] = _attend(q, k, v, *weights, scale, slope)
    return found[0]


@torch.library.custom_op("pebench::attend_adjusting", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    first: Tensor,
    last: Tensor,
    hidden: Tensor,
    prior: Tensor,
    scale: float,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """The output, and (B, H, N) logarithms of the sums of the softmax to base 2."""
    q, k, v = (rowwise(x) for x in (q, k, v))
    weights = Weights(*(x.contiguous() for x in (first, last, hidden, prior)))
    out, sums = torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
    for texts in _groups(q):
        values, part = v[texts], out[texts]
        _, adjusted = _adjusted(q[texts], k[texts], weights, scale, slope)
        tile = _tiles(q)["attended"]
        kernels.attended[by_head(part, tile.queries)](
            *(adjusted, values, part, sums[texts]),
            *strides(values, part),
            *part.shape[1:3],
            **compiled_for(q),
            **tile.launch(),
        )
    return out, sums


@_attend.register_fake
def _(q: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("pebench::attend_adjusting_backward", mutates_args=())
def _gradients(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    first: Tensor,
    last: Tensor,
    hidden: Tensor,
    prior: Tensor,
    out: Tensor,
    sums: Tensor,
    scale: float,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of queries, keys, values, and the weights."""
    q, k, v, gradient = (rowwise(x) for x in (q, k, v, gradient))
    weights = Weights(*(x.contiguous() for x in (first, last, hidden, prior)))
    of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
    of_weights = Weights(*(torch.zeros_like(x) for x in weights))
    known, tile = compiled_for(q), _tiles(q)["values"]
    for texts in _groups(q):
        logits, adjusted = _adjusted(q[texts], k[texts], weights, scale, slope)
        above, values, part = gradient[texts], v[texts], of_v[texts]
        means = mean_gradients(out[texts], above)
        kernels.of_values_and_logits[by_head(values, tile.keys)](
            *(adjusted, values, above, sums[texts], means, part),
            *strides(values, above, part),
            *above.shape[1:3],
            **known,
            **tile.launch(),
        )
        of_products, parts = _gone_back(logits, adjusted, weights, scale, slope, q.dtype)
        for whole, one in zip(of_weights, parts, strict=True):
            whole += one
        of_q[texts] = of_products @ k[texts]
        of_k[texts] = of_products.mT @ q[texts]
    return of_q, of_k, of_v, *of_weights


@_gradients.register_fake
def _(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    of_q, of_k, of_v = (torch.empty_like(x) for x in (q, k, v))
    network = rest[: len(Weights._fields)]
    weights = Weights(*(torch.empty_like(x, memory_format=torch.contiguous_format) for x in network))
    return of_q, of_k, of_v, *weights


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, scale, slope = inputs
    ctx.setting = scale, slope
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: Any, gradient: Tensor, of_sums: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(gradient, *ctx.saved_tensors, *ctx.setting), None, None


_attend.register_autograd(_backward, setup_context=_keep)


def _adjusted(q: Tensor, k: Tensor, weights: Weights, scale: float, slope: float) -> tuple[Tensor, Tensor]:
    """(B, H, N, N) logits, and the same adjusted. Where a query sees no key nothing is written."""
    texts, heads, length, _ = q.shape
    logits, adjusted = q.new_empty(2, texts, heads, length, length, dtype=torch.float32)
    tile = _tiles(q)["products"]
    kernels.products[by_head(q, tile.queries)](
        *(q, k, logits),
        *strides(q, k),
        *(heads, length, scale),
        **compiled_for(q),
        **tile.launch(),
    )
    tile = PAIR_TILES["adjust"]
    kernels.adjust[_by_pair(logits, tile)](
        *(logits, adjusted, *weights),
        *(heads, len(weights.first), length, slope),
        **_sides(weights),
        **tile.launch(),
        PRECISION="tf32x3",
    )
    return logits, adjusted


def _gone_back(
    logits: Tensor, of_adjusted: Tensor, weights: Weights, scale: float, slope: float, dtype: torch.dtype
) -> tuple[Tensor, Weights]:
    """The gradients of the products q·k, zero where a query sees no key, and those of the weights."""
    texts, heads, length, _ = logits.shape
    small = heads <= SMALL_HEADS and dtype.itemsize == 2
    tile, units = (SMALL_PAIR_TILES if small else PAIR_TILES)["back"], len(weights.first)
    places, runs, _ = grid = _by_pair(logits, tile)
    of_products = torch.zeros_like(logits, dtype=dtype)
    of_first, of_last = logits.new_empty(2, texts * runs * places, heads, units)
    of_hidden = logits.new_empty(texts * runs, units, length)
    of_prior = logits.new_empty(texts * runs, heads, length)
    kernels.of_adjusting[grid](
        *(logits, of_adjusted, *weights[:3], of_products, of_first, of_last, of_hidden, of_prior),
        *(heads, units, length, slope, scale),
        **_sides(weights),
        **tile.launch(),
        PRECISION="tf32x3",
        BACK="tf32" if dtype.itemsize == 2 else "tf32x3",
    )
    tables = (F.pad(x.sum(0).flip(1), (length - 1, 0)) for x in (of_hidden, of_prior))
    return of_products, Weights(of_first.sum(0).T, of_last.sum(0), *tables)


def _groups(q: Tensor) -> Iterator[slice]:
    """The texts that are gone through together."""
    texts, heads, length, _ = q.shape
    groups = -(-texts // max(1, GROUP_BYTES // (4 * heads * length * length)))
    size = -(-texts // groups)
    for start in range(0, texts, size):
        yield slice(start, start + size)


def _by_pair(logits: Tensor, tile: Tile) -> tuple[int, int, int]:
    """The programs of a kernel that takes all heads: by place, by run of queries, by text."""
    texts, _, length, _ = logits.shape
    return triton.cdiv(length, tile.keys), triton.cdiv(length, tile.queries), texts


def _tiles(q: Tensor) -> dict[str, Tile]:
    return TILES if q.shape[3] <= 64 and q.element_size() == 2 else WIDE_TILES


def _sides(weights: Weights) -> dict[str, int]:
    """Of the matrices of a kernel by pair."""
    units, heads = weights.first.shape
    return {
        "HEADS": max(LEAST, triton.next_power_of_2(heads)),
        "UNITS": max(LEAST, triton.next_power_of_2(units)),
    }
