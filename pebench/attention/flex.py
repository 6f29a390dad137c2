"""Attention whose bias is computed inside a kernel that PyTorch compiles for it: flex attention on CUDA.

Shapes as in `kernels`; there are as many queries as keys.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from pebench.position_encoding import Score

BLOCK = 128
"""Queries and keys in a block of the mask: blocks that nobody sees are skipped."""

COMPILATIONS = 32
"""Compiled forms that are kept: a bias by a few encodings, with and without gradients and padding, at a fixed
and at any length. PyTorch's own bound of 8 serves one encoding; past the bound it would refuse to go on."""


def attend_by_score(
    q: Tensor, k: Tensor, v: Tensor, score: Score, *, causal: bool, key_mask: Tensor | None
) -> Tensor:
    """(B, H, N, d) attention; no tensor of queries × keys is made, forward or backward.

    Args:
        q, k, v: (B, H, N, d). score: the bias, number by number.
        causal, key_mask: see `kernels.attend`.
    """

    def biased(logit: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return logit + score(batch, head, query, key)

    mask = visible_blocks(q.shape[2], causal, key_mask, q.device)
    return compiled()(q, k, v, score_mod=biased, block_mask=mask, scale=q.shape[-1] ** -0.5)


@functools.cache
def compiled() -> Callable[..., Tensor]:
    """Flex attention as a kernel, one for all layers. Compiled anew where the kind of bias changes, and once
    more for any length where the length does."""
    # The compiler looks at the gradients of all that a bias has captured, and is warned of those in between.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILATIONS)
    # Without `fullgraph` too many compilations would end in the N×K form, with no more than a warning.
    function: Callable[..., Tensor] = torch.compile(flex_attention, fullgraph=True)
    return function


def visible_blocks(
    length: int, causal: bool, key_mask: Tensor | None, device: torch.device
) -> BlockMask | None:
    """Which blocks of keys each block of queries has to visit, None if all of all; see `kernels.attend`."""
    if key_mask is None:
        return _causal_blocks(length, device) if causal else None

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = key_mask[batch, key] | (key == query)
        return seen & (key <= query) if causal else seen

    return _blocks(length, causal, visible, False, device)


@functools.lru_cache(maxsize=16)
def _causal_blocks(length: int, device: torch.device) -> BlockMask:
    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key <= query

    return _blocks(length, True, visible, True, device)


def _blocks(
    length: int, causal: bool, visible: Callable[..., Tensor], open_inside: bool, device: torch.device
) -> BlockMask:
    """The blocks up to the diagonal, or all, written down without a look at the N×N matrix.

    Args:
        visible: of one (batch, head, query, key). open_inside: whether blocks off the diagonal hide nothing,
            so that `visible` need not be asked about them.
    """
    count = -(-length // BLOCK)
    number = torch.arange(count, device=device, dtype=torch.int32)
    order = number.expand(1, 1, count, count).contiguous()
    upto = (number + 1 if causal else torch.full_like(number, count))[None, None]
    if not open_inside:
        return BlockMask.from_kv_blocks(
            upto, order, BLOCK_SIZE=BLOCK, mask_mod=visible, seq_lengths=(length, length)
        )
    # Queries beyond the end are hidden from all keys, so that no block in the last row is open if it has any.
    ragged = (number == count - 1) & (length % BLOCK != 0)
    diagonal = torch.where(ragged[:, None], number[None, :], number[:, None])[None, None].contiguous()
    return BlockMask.from_kv_blocks(
        torch.where(ragged, count, torch.ones_like(number))[None, None],
        diagonal,
        torch.where(ragged, torch.zeros_like(number), number)[None, None],
        order,
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(length, length),
    )
