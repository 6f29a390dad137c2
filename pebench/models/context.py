"""Texts that a decoder has read into its key-value cache, for what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from pebench.attention.cache import Cache
from pebench.models.batching import padded
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid, tabulate


class Context:
    """Texts side by side in the cache, for use without gradients.

    Attributes:
        model: in evaluation mode.
        last: (B, D) hidden states of the last tokens that were read, which predict the next.
    """

    def __init__(self, model: Decoder, texts: Sequence[Sequence[int]], reach: Extrapolation) -> None:
        """Reads the texts, the shorter ones padded on the left.

        Args:
            model: in evaluation mode. texts: ids, at least one each. reach: the extent that is served.
        """
        self.model, self._reach = model, reach
        tokens, mask = padded(texts, next(model.parameters()).device, left=True)
        positions = _positions(tokens, mask)
        self._cache = Cache(model.geometry.layers)
        hidden = model(tokens, tabulate(model.encoding, positions, reach), mask, self._cache)
        self.last: Tensor = hidden[:, -1]
        self._following = positions[:, -1:] + 1

    def go_on(self, tokens: Tensor) -> Tensor:
        """Reads (B, N) more tokens and returns their (B, N, D) hidden states.

        Padding may stand behind what is read last: attention is causal, so nothing before it sees it.
        """
        positions = self._following + torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        self._following = positions[:, -1:] + 1
        # Padding behind the longest context may go past what is served; nothing looks at it.
        served = positions.clamp(max=self._reach.extent[0] - 1)
        table = tabulate(self.model.encoding, served, self._reach)
        hidden: Tensor = self.model(tokens, table, None, self._cache)
        self.last = hidden[:, -1]
        return hidden

    def take(self, rows: Tensor) -> Context:
        """A copy that holds these (R,) rows, each as often as it is named, and goes on by itself."""
        taken = copy(self)
        taken._cache = self._cache.take(rows)
        taken.last = self.last[rows]
        taken._following = self._following if len(self._following) == 1 else self._following[rows]
        return taken


def _positions(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """(B|1, N, 1) positions, from 0 at each row's first token."""
    if mask is None:
        return grid((tokens.shape[1],)).to(tokens.device)
    return (mask.long().cumsum(1) - 1).clamp(min=0)[..., None]
