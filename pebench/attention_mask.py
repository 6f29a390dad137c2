"""Which keys each query may see: causality, padding, windows and chunks, all by order and never by position.

Shapes: B batch, N queries, K keys. The queries are the last N of the K tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AttentionMask(NamedTuple):
    """Visibility of the keys in one layer. Every query sees its own key, padding or not.

    Attributes:
        queries: N.
        keys: K.
        causal: whether keys behind a query are hidden from it.
        device: of the tensors that are made.
        key_mask: (B, K) bool, False for padding; None where there is none.
        window: W, for |i − j| < W by order, so that a causal query sees W keys with its own; None for all.
        chunk: C, for ⌊i/C⌋ = ⌊j/C⌋ by order, padding not counted; None for all.
        prefix: leading tokens that an encoding does not get, though they are among queries and keys.
    """

    queries: int
    keys: int
    causal: bool
    device: torch.device
    key_mask: Tensor | None = None
    window: int | None = None
    chunk: int | None = None
    prefix: int = 0

    @property
    def first(self) -> int:
        """The place of the first query among the keys."""
        return self.keys - self.queries

    def blocks(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Each block of at most `size` queries, with the shortest run of keys that holds all it may see."""
        for start in range(0, self.queries, size):
            stop = min(start + size, self.queries)
            yield slice(start, stop), self.reachable(slice(start, stop))

    def reachable(self, rows: slice) -> slice:
        """The shortest run of keys that holds all that these queries may see."""
        low, high = 0, self.first + rows.stop if self.causal else self.keys
        if self.window is not None:
            low = max(low, self.first + rows.start - self.window + 1)
            high = min(high, self.first + rows.stop - 1 + self.window)
        if self.chunk is not None and self.key_mask is None:
            low = max(low, (self.first + rows.start) // self.chunk * self.chunk)
            high = min(high, -(-(self.first + rows.stop) // self.chunk) * self.chunk)
        return slice(low, high)

    def is_plain_causal(self, rows: slice, keys: slice) -> bool:
        """Whether this part is a square that nothing but causality restricts, as fused kernels know it."""
        square = rows.stop - rows.start == keys.stop - keys.start and keys.stop == self.first + rows.stop
        return self.causal and self.key_mask is None and square and self._is_local(rows, keys)

    def is_open(self, rows: slice, keys: slice) -> bool:
        """Whether every query of this part sees every key of it."""
        above = not self.causal or keys.stop <= self.first + rows.start + 1
        return self.key_mask is None and above and self._is_local(rows, keys)

    def visible(self, rows: slice, keys: slice) -> Tensor:
        """(B|1, 1, rows, keys) bool, False where the key is hidden from the query."""
        query = torch.arange(self.first + rows.start, self.first + rows.stop, device=self.device)[:, None]
        key = torch.arange(keys.start, keys.stop, device=self.device)[None, :]
        seen = key <= query if self.causal else torch.ones_like(key <= query)
        if self.window is not None:
            seen = seen & ((query - key).abs() < self.window)
        visible = seen[None, None]
        if self.chunk is not None:
            run = self._order().div(self.chunk, rounding_mode="floor")
            own, other = run[:, self.first :][:, rows], run[:, keys]
            visible = visible & (own[:, None, :, None] == other[:, None, None])
        if self.key_mask is not None:
            visible = visible & self.key_mask[:, None, None, keys]
        return visible | (key == query)

    def keys_seen(self) -> Tensor:
        """(B|1, N − prefix) int64: how many keys each query sees, its own counted and padding left out.

        This is i + 1 only where positions have no gaps, every token has one, and nothing but causality hides
        a key: tokens are counted, those of the prefix too, whatever their positions.
        """
        place = torch.arange(self.first, self.keys, device=self.device)
        low, end = torch.zeros_like(place), torch.full_like(place, self.keys)
        if self.window is not None:
            low = (place - self.window + 1).clamp(min=0)
            end = (place + self.window).clamp(max=self.keys)
        if self.causal:
            end = place + 1
        order = self._order()
        # before[:, j] valid keys stand before key j.
        before = F.pad(order + 1, (1, 0))
        least, most = before[:, low], before[:, end]
        if self.chunk is not None:
            start = order[:, self.first :].clamp(min=0) // self.chunk * self.chunk
            least, most = torch.maximum(least, start), torch.minimum(most, start + self.chunk)
        return (most - least).clamp(min=1)[:, self.prefix :]

    def _order(self) -> Tensor:
        """(B|1, K) the number of each key among those that are no padding, from 0."""
        if self.key_mask is None:
            return torch.arange(self.keys, device=self.device)[None]
        return self.key_mask.long().cumsum(1) - 1

    def _is_local(self, rows: slice, keys: slice) -> bool:
        """Whether window and chunk hide nothing within this part."""
        first, last = self.first + rows.start, self.first + rows.stop - 1
        farthest = max(last - keys.start, 0 if self.causal else keys.stop - 1 - first)
        ends = {place // (self.chunk or self.keys) for place in (first, last, keys.start, keys.stop - 1)}
        return (self.window is None or farthest < self.window) and (self.chunk is None or len(ends) == 1)
