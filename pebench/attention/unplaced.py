"""Leading tokens that stand nowhere, such as a class token: what an encoding does to the others alone.

Shapes: U unplaced tokens, before N placed ones; the rest as in `pebench.position_encoding`. There is no cache
here: such tokens come with attention that sees everything at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from pebench.position_encoding import Bias, Block, Dense, Factored, PositionEncoding, Score, Table


class Places(NamedTuple):
    """Where the tokens of a forward pass stand.

    Attributes:
        encoding: of the model. table: of the tokens that have a place.
        unplaced: how many leading tokens have none.
    """

    encoding: PositionEncoding
    table: Table
    unplaced: int = 0

    def embed(self) -> Tensor | None:
        """(B|1, U + N, D), added to the token embeddings: zero where there is no place."""
        added = self.encoding.embed(self.table)
        return None if added is None else _below_zeros(added, self.unplaced, dim=1)

    def rotate(self, q: Tensor, k: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Queries and keys, both (B, H, U + N, d), those with a place transformed."""
        if not self.unplaced:
            return self.encoding.rotate(q, k, self.table, layer)
        count = self.unplaced
        placed = self.encoding.rotate(q[:, :, count:], k[:, :, count:], self.table, layer)
        return torch.cat((q[:, :, :count], placed[0]), 2), torch.cat((k[:, :, :count], placed[1]), 2)

    def bias(self, q: Tensor, k: Tensor, hidden: Tensor, layer: int) -> Bias | None:
        """What is added to the logits of all against all: nothing where either has no place.

        Args:
            q, k: (B, H, U + N, d), after `rotate`. hidden: (B, U + N, D). layer: from 0.
        """
        count = self.unplaced
        placed = (q[:, :, count:], k[:, :, count:], hidden[:, count:])
        bias = self.encoding.bias(*placed, self.table, self.table, layer, {})
        return _widened(bias, count, q.shape[2]) if count else bias


def places(encoding: PositionEncoding, table: Table) -> Places:
    """The tokens of a model with `geometry.unplaced` leading ones without a place.

    Args:
        encoding: of the model. table: of the positions that there are.
    """
    count = encoding.geometry.unplaced
    if not count:
        return Places(encoding, table)
    tensors = (leaf for leaf in tree_flatten(table)[0] if isinstance(leaf, Tensor))
    device = next((tensor.device.type for tensor in tensors), "cpu")
    with torch.autocast(device, enabled=False):
        own = encoding.unplaced()
    if own is None:
        return Places(encoding, table, count)
    return Places(encoding, _joined(own, table))


def _joined(first: Table, second: Table) -> Table:
    """One table of the positions of two."""
    leaves, shape = tree_flatten(first)
    others, _ = tree_flatten(second)
    joined = [
        torch.cat((one.expand(len(other), *one.shape[1:]), other), dim=1) if isinstance(one, Tensor) else one
        for one, other in zip(leaves, others, strict=True)
    ]
    return tree_unflatten(joined, shape)


def _widened(bias: Bias | None, count: int, length: int) -> Bias | None:
    match bias:
        case None:
            return None
        case Factored():
            # A bias by key alone goes to the queries that have a place, and to no others.
            ones = bias.key.new_ones(1, 1, length - count, bias.key.shape[-1])
            query = ones if bias.query is None else bias.query
            return Factored(_below_zeros(bias.key, count, dim=2), _below_zeros(query, count, dim=2))
        case Dense(score=score):
            return Dense(
                lambda block: _values(bias, block, count),
                None if score is None else lambda *place: _score(score, place, count),
            )


def _values(bias: Dense, block: Block, count: int) -> Tensor:
    """The values of a block that may reach into the tokens without a place."""
    rows = slice(max(block.rows.start - count, 0), max(block.rows.stop - count, 0))
    keys = slice(0, block.keys.stop - count)
    above = (block.rows.stop - block.rows.start) - (rows.stop - rows.start)
    if rows.stop == rows.start:
        return torch.zeros(1, 1, 1, 1, device=block.visible.device)
    inner = bias.values(Block(rows, keys, block.visible[:, :, above:, count:]))
    return F.pad(inner, (count, 0, above, 0))


def _score(score: Score, place: tuple[Tensor, ...], count: int) -> Tensor:
    """The value of one query and key, zero where either has no place."""
    batch, head, query, key = place
    inner = score(batch, head, (query - count).clamp(min=0), (key - count).clamp(min=0))
    return torch.where((query >= count) & (key >= count), inner, torch.zeros_like(inner))


def _below_zeros(x: Tensor, count: int, dim: int) -> Tensor:
    """The tensor with so many zeros before it along a dimension."""
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + (count, 0)) if count else x
