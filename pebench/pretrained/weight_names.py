"""How the weights of an architecture of transformers are those of a decoder here, one entry a tensor of ours,
to be read in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Entry(NamedTuple):
    """A tensor of ours.

    Attributes:
        ours: its name. theirs: those of the tensors that it is made of.
        join: makes ours of theirs. split: makes theirs of ours.
    """

    ours: str
    theirs: tuple[str, ...]
    join: Callable[[Sequence[Tensor]], Tensor]
    split: Callable[[Tensor], Sequence[Tensor]]


def same(ours: str, theirs: str) -> Entry:
    """A tensor that is theirs as it is."""
    return Entry(ours, (theirs,), lambda parts: parts[0], lambda tensor: [tensor])


def transposed(ours: str, theirs: str) -> Entry:
    """A matrix that they multiply from the other side."""
    return Entry(ours, (theirs,), lambda parts: parts[0].T, lambda tensor: [tensor.T])


def ordered(ours: str, theirs: str, order: Tensor) -> Entry:
    """A vector of a head's channels, which stand in another order; see `pairs_side_by_side`."""
    back = order.argsort()
    return Entry(ours, (theirs,), lambda parts: parts[0][order], lambda tensor: [tensor[back]])


class HeadShape(NamedTuple):
    """Heads of attention.

    Attributes:
        heads: of queries. shared: of keys, and of values. order: of the channels of queries and keys; see
            `pairs_side_by_side`.
    """

    heads: int
    shared: int
    order: Tensor

    @property
    def sizes(self) -> list[int]:
        """Rows of the projections to queries, keys and values."""
        width = len(self.order)
        return [self.heads * width, self.shared * width, self.shared * width]


def separate(ours: str, theirs: tuple[str, str, str], shape: HeadShape) -> Entry:
    """The weight or bias of our one projection, of theirs to queries, keys and values."""

    def join(parts: Sequence[Tensor]) -> Tensor:
        query, key, value = parts
        return torch.cat([_by_head(query, shape.order), _by_head(key, shape.order), value])

    def split(tensor: Tensor) -> Sequence[Tensor]:
        query, key, value = tensor.split(shape.sizes)
        back = shape.order.argsort()
        return [_by_head(query, back), _by_head(key, back), value]

    return Entry(ours, theirs, join, split)


def by_head(ours: str, theirs: str, shape: HeadShape) -> Entry:
    """The weight or bias of our one projection, of theirs in which each head has its query, key and value
    side by side."""

    def join(parts: Sequence[Tensor]) -> Tensor:
        query, key, value = parts[0].unflatten(0, (shape.heads, 3, -1)).unbind(1)
        return torch.cat([query[:, shape.order], key[:, shape.order], value]).flatten(0, 1)

    def split(tensor: Tensor) -> Sequence[Tensor]:
        query, key, value = tensor.unflatten(0, (3, shape.heads, -1))
        back = shape.order.argsort()
        return [torch.stack([query[:, back], key[:, back], value], dim=1).flatten(0, 2)]

    return Entry(ours, (theirs,), join, split)


def pairs_side_by_side(width: int, turning: int) -> Tensor:
    """(width,) the channel of theirs that each of ours is: they turn channel c with c + turning/2, and we
    with the one beside it."""
    order = torch.arange(width)
    order[:turning] = order[:turning].unflatten(0, (2, -1)).T.flatten()
    return order


def ours_of(entries: Iterable[Entry], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors by our names, in float32."""
    return {
        entry.ours: entry.join([theirs[name].float() for name in entry.theirs]).contiguous()
        for entry in entries
    }


def theirs_of(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors by their names."""
    return {
        name: part.contiguous()
        for entry in entries
        for name, part in zip(entry.theirs, entry.split(ours[entry.ours]), strict=True)
    }


def _by_head(tensor: Tensor, order: Tensor) -> Tensor:
    """Rows of a projection with the channels of each head in an order."""
    found: Tensor = tensor.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1)
    return found
