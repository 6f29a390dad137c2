"""Keys, values and tables that decoding keeps of the tokens it has seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from pebench.position_encoding import Table


class Growing:
    """A tensor that is appended to along one dimension; its storage doubles, so that appending costs what is
    new."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.length = 0
        self._storage: Tensor | None = None

    def append(self, new: Tensor) -> Tensor:
        """Takes in new rows and returns all of them, as a view that stays valid until the next call."""
        end = self.length + new.shape[self.dim]
        if self._storage is None or self._storage.shape[self.dim] < end:
            shape = list(new.shape)
            shape[self.dim] = max(end, 2 * self.length)
            larger = new.new_empty(shape)
            if self._storage is not None:
                larger.narrow(self.dim, 0, self.length).copy_(self._storage.narrow(self.dim, 0, self.length))
            self._storage = larger
        self._storage.narrow(self.dim, self.length, new.shape[self.dim]).copy_(new)
        self.length = end
        return self._storage.narrow(self.dim, 0, end)

    def take(self, rows: Tensor) -> Growing:
        """A copy that holds these rows of dimension 0, in this order."""
        taken = Growing(self.dim)
        if self._storage is not None:
            taken._storage = self._storage.narrow(self.dim, 0, self.length)[rows]
            taken.length = self.length
        return taken

    def take_if_many(self, rows: Tensor) -> Growing:
        """A copy that holds these rows, or the one row there is for every member of the batch."""
        one = self._storage is not None and len(self._storage) == 1
        return self.take(torch.zeros_like(rows[:1]) if one else rows)


class LayerCache:
    """Keys (B, H|G, K, d') and values (B, G, K, d) of a layer, and the state of its encoding."""

    def __init__(self) -> None:
        self._keys = Growing(dim=2)
        self._values = Growing(dim=2)
        self.state: dict[str, Any] = {}

    @property
    def length(self) -> int:
        """K, tokens seen so far."""
        return self._keys.length

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in the new keys and values and returns all of them."""
        return self._keys.append(k), self._values.append(v)

    def take(self, rows: Tensor) -> LayerCache:
        """A copy that holds these rows of the batch."""
        taken = LayerCache()
        taken._keys, taken._values = self._keys.take(rows), self._values.take(rows)
        taken.state = tree_map_only(Tensor, lambda value: value[rows], self.state)
        return taken


class Cache:
    """Everything that decoding keeps, for use without gradients.

    Attributes:
        layers: what each layer keeps. length: how many positions have been seen.
    """

    def __init__(self, layers: int) -> None:
        self.layers = [LayerCache() for _ in range(layers)]
        self.length = 0
        self._table: list[Growing] = []
        self._mask: Growing | None = None

    def append(self, table: Table, tokens: Tensor, mask: Tensor | None) -> tuple[Table, Tensor | None]:
        """Takes in new positions and returns the table and the mask of all positions.

        Args:
            table: of the new positions. tokens: (B, N), for their number alone.
            mask: (B, N) bool, False for padding; None for none.

        Returns:
            The table of all K positions, and the (B, K) mask; None as long as there was none.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("a cache keeps no gradients: decode under torch.no_grad()")
        leaves, shape = tree_flatten(table)
        self._table = self._table or [Growing(dim=1) for _ in leaves]
        whole = [
            growing.append(leaf) if isinstance(leaf, Tensor) else leaf
            for growing, leaf in zip(self._table, leaves, strict=True)
        ]
        if mask is not None and self._mask is None:
            self._mask = Growing(dim=1)
            self._mask.append(mask.new_ones(len(mask), self.length))
        self.length += tokens.shape[1]
        if self._mask is None:
            return tree_unflatten(whole, shape), None
        mask = tokens.new_ones(tokens.shape, dtype=torch.bool) if mask is None else mask
        return tree_unflatten(whole, shape), self._mask.append(mask)

    def take(self, rows: Tensor) -> Cache:
        """A copy that holds these rows of the batch, each as often as it is named, so that several texts can
        go on from what one has in common.

        Args:
            rows: (R,) numbers of rows.
        """
        taken = Cache(0)
        taken.layers = [layer.take(rows) for layer in self.layers]
        taken.length = self.length
        taken._table = [growing.take_if_many(rows) for growing in self._table]
        taken._mask = None if self._mask is None else self._mask.take(rows)
        return taken
