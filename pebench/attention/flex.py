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

from pebench.attention_mask import AttentionMask
from pebench.position_encoding import Score

BLOCK = 128
"""Queries and keys in a block of the mask: blocks that nobody sees are skipped."""

COMPILATIONS = 32
"""Compiled forms that are kept: a bias by a few encodings, with and without gradients and padding, at a fixed
and at any length. PyTorch's own bound of 8 serves one encoding; past the bound it would refuse to go on."""

# Set up where a compiler that traces the functions below finds it done: a filter that was set inside of them
# broke the graph of the step around them.
# The compiler looks at the gradients of all that a bias has captured, and is warned of those in between.
warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, COMPILATIONS)

compiled: Callable[..., Tensor] = torch.compile(flex_attention, fullgraph=True)
"""Flex attention as a kernel, one for all layers. Compiled anew where the kind of bias changes, and once more
for any length where the length does. Without `fullgraph` too many compilations would end in the N×K form,
with no more than a warning."""


def attend_by_score(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score: Score | None,
    *,
    mask: AttentionMask,
    scale: float,
    softcap: float | None = None,
) -> Tensor:
    """(B, H, N, v) attention; no tensor of queries × keys is made, forward or backward.

    Args:
        q: (B, H, N, d).
        k: (B, H, N, d).
        v: (B, H, N, v).
        score: the bias, number by number; None for none.
        mask: which keys each query sees. Blocks that no query sees are skipped.
        scale: of the logits q·k.
        softcap: c, for logits c·tanh(scale·q·k/c) before the bias; None for none.
    """
    biased = None
    if score is not None:

        def biased(logit: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            content = logit if softcap is None else softcap * torch.tanh(logit / softcap)
            return content + score(batch, head, query, key)

    return compiled(q, k, v, score_mod=biased, block_mask=visible_blocks(mask), scale=scale)


def visible_blocks(mask: AttentionMask) -> BlockMask | None:
    """Which blocks of keys each block of queries visits, None if all of all."""
    if mask.key_mask is None:
        return _known_blocks(mask) if mask.causal or mask.window or mask.chunk else None
    return _blocks(mask, _visible(mask))


@functools.lru_cache(maxsize=32)
def _known_blocks(mask: AttentionMask) -> BlockMask:
    """The blocks of a mask without padding, which is the same from batch to batch."""
    if mask.window is None and mask.chunk is None:
        return _causal_blocks(mask)
    return _blocks(mask, _visible(mask))


def _visible(mask: AttentionMask) -> Callable[..., Tensor]:
    """Whether one (batch, head, query, key) is seen."""
    order = None if mask.key_mask is None else mask.key_mask.long().cumsum(1) - 1

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = key <= query if mask.causal else key == key
        if mask.window is not None:
            seen = seen & ((query - key).abs() < mask.window)
        if mask.chunk is not None:
            own, other = (query, key) if order is None else (order[batch, query], order[batch, key])
            seen = seen & (own // mask.chunk == other // mask.chunk)
        if mask.key_mask is not None:
            seen = seen & mask.key_mask[batch, key]
        return seen | (key == query)

    return visible


def _blocks(mask: AttentionMask, visible: Callable[..., Tensor]) -> BlockMask:
    """The blocks that each block of queries can reach, written down without a look at the N×N matrix."""
    parts = [keys for _, keys in mask.blocks(BLOCK)]
    first, stop = torch.tensor(
        [[keys.start // BLOCK for keys in parts], [-(-keys.stop // BLOCK) for keys in parts]],
        dtype=torch.int32,
        device=mask.device,
    )
    number = torch.arange(len(parts), dtype=torch.int32, device=mask.device)
    return BlockMask.from_kv_blocks(
        (stop - first)[None, None],
        ((first[:, None] + number) % len(parts))[None, None].contiguous(),
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(mask.queries, mask.keys),
    )


def _causal_blocks(mask: AttentionMask) -> BlockMask:
    """The blocks up to the diagonal, of which those below it are seen whole."""
    length, device = mask.keys, mask.device
    count = -(-length // BLOCK)
    number = torch.arange(count, device=device, dtype=torch.int32)
    order = number.expand(1, 1, count, count).contiguous()
    # Queries beyond the end are hidden from all keys, so that no block in the last row is open if it has any.
    ragged = (number == count - 1) & (length % BLOCK != 0)
    diagonal = torch.where(ragged[:, None], number[None, :], number[:, None])[None, None].contiguous()
    return BlockMask.from_kv_blocks(
        torch.where(ragged, count, torch.ones_like(number))[None, None],
        diagonal,
        torch.where(ragged, torch.zeros_like(number), number)[None, None],
        order,
        BLOCK_SIZE=BLOCK,
        mask_mod=_visible(mask),
        seq_lengths=(length, length),
    )
