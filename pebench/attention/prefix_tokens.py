"""Prefix tokens without a position (e.g. [CLS]): the hooks of an encoding for the other tokens alone.

Each function calls the encoding's hook of its name. Where the model has prefix tokens and the encoding no
table of them (`prefix_table`), the hook gets the other tokens alone, and the prefix tokens stay as they are.

Shapes: U prefix tokens before N tokens with a position; the rest as in `pebench.position_encoding`. There is
no cache here: such tokens come with attention that sees everything at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Factored,
    PositionEncoding,
    Score,
    Table,
)


def joined(prefix: Table, table: Table) -> Table:
    """The table of all tokens, from that of the prefix tokens and that of the others; where the encoding has
    nothing to say of the prefix tokens, the latter."""
    if isinstance(prefix, Tensor):
        return torch.cat((prefix.expand(len(table), *prefix.shape[1:]), table), dim=1)
    if isinstance(prefix, tuple):
        parts = [joined(*pair) for pair in zip(prefix, table, strict=True)]
        return type(prefix)(*parts) if hasattr(prefix, "_fields") else tuple(parts)
    return table


def embed(encoding: PositionEncoding, table: Table) -> Tensor | None:
    """(B|1, U + N, D)."""
    added = encoding.embed(table)
    return None if added is None else _below_zeros(added, _left_out(encoding), dim=1)


def rotate(encoding: PositionEncoding, x: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Queries and keys, both (B, H, U + N, d').

    Raises:
        ValueError: the encoding gives heads another width, which tokens without a position do not have.
    """
    count = _left_out(encoding)
    q, k = encoding.rotate(_others(x, count))
    if not count:
        return q, k
    if q.shape[-1] != x.q.shape[-1]:
        raise ValueError("an encoding that changes the width of heads needs a table of the prefix tokens")
    return torch.cat((x.q[:, :, :count], q), 2), torch.cat((x.k[:, :, :count], k), 2)


def temperature(encoding: PositionEncoding, x: AttentionInputs) -> Tensor | None:
    """(B|1, H|1, U + N)."""
    count = _left_out(encoding)
    factor = encoding.temperature(_others(x, count))
    return factor if factor is None or not count else F.pad(factor, (count, 0), value=1.0)


def bias(encoding: PositionEncoding, x: AttentionInputs) -> Bias | None:
    """Bias of all against all, zero where either token has no position."""
    count = _left_out(encoding)
    found = encoding.bias(_others(x, count))
    return _widened(found, count, x.q.shape[2]) if count else found


def _left_out(encoding: PositionEncoding) -> int:
    """Leading tokens that the hooks do not get."""
    has_table = type(encoding).prefix_table is not PositionEncoding.prefix_table
    return 0 if has_table else encoding.geometry.prefix_tokens


def _others(x: AttentionInputs, count: int) -> AttentionInputs:
    """The tokens behind the prefix; all of them where it is empty."""
    if not count:
        return x
    q, k, hidden = x.q[:, :, count:], x.k[:, :, count:], x.hidden[:, count:]
    return x._replace(q=q, k=k, hidden=hidden, mask=x.mask._replace(prefix=count))


def _widened(bias: Bias | None, count: int, length: int) -> Bias | None:
    match bias:
        case None:
            return None
        case Factored():
            # A bias by key alone goes to the queries that have a position, and to no others.
            ones = bias.key.new_ones(1, 1, length - count, bias.key.shape[-1])
            query = ones if bias.query is None else bias.query
            return Factored(_below_zeros(bias.key, count, dim=2), _below_zeros(query, count, dim=2))
        case Dense(score=score):
            return Dense(
                lambda block: _values(bias, block, count),
                None if score is None else lambda *place: _score(score, place, count),
            )


def _values(bias: Dense, block: Block, count: int) -> Tensor:
    """The values of a block that may reach into the prefix."""
    rows = slice(max(block.rows.start - count, 0), max(block.rows.stop - count, 0))
    keys = slice(max(block.keys.start - count, 0), max(block.keys.stop - count, 0))
    above = (block.rows.stop - block.rows.start) - (rows.stop - rows.start)
    left = (block.keys.stop - block.keys.start) - (keys.stop - keys.start)
    if rows.stop == rows.start or keys.stop == keys.start:
        return torch.zeros(1, 1, 1, 1, device=block.visible.device)
    inner = bias.values(Block(rows, keys, block.visible[:, :, above:, left:]))
    return F.pad(inner, (left, 0, above, 0))


def _score(score: Score, place: tuple[Tensor, ...], count: int) -> Tensor:
    """The value of one query and key, zero where either has no position."""
    batch, head, query, key = place
    inner = score(batch, head, (query - count).clamp(min=0), (key - count).clamp(min=0))
    return torch.where((query >= count) & (key >= count), inner, torch.zeros_like(inner))


def _below_zeros(x: Tensor, count: int, dim: int) -> Tensor:
    """The tensor with so many zeros before it along a dimension."""
    return F.pad(x, (0, 0) * (x.ndim - 1 - dim) + (count, 0)) if count else x
