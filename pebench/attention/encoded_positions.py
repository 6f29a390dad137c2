"""Positions of one forward pass as an encoding sees them, shared by all attention layers of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pebench.attention import prefix_tokens
from pebench.attention.cache import LayerCache
from pebench.attention.composition import parts_of
from pebench.attention.kernels import Attended, attend, for_each_head
from pebench.attention_mask import AttentionMask
from pebench.position_encoding import AttentionInputs, Dense, PositionEncoding, Table


class EncodedPositions(NamedTuple):
    """An encoding with its tables of the tokens of a forward pass.

    Attributes:
        encoding: of the model.
        table: of the N new tokens.
        key_table: of all K tokens, the cached ones first.
        key_mask: (B, K) bool, False for padding; None where there is none.
    """

    encoding: PositionEncoding
    table: Table
    key_table: Table
    key_mask: Tensor | None = None

    def embed(self) -> Tensor | None:
        """(B|1, N, D), added to the token embeddings: zero for tokens without a position."""
        return prefix_tokens.embed(self.encoding, self.table)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        hidden: Tensor,
        layer: int,
        causal: bool,
        cache: LayerCache | None = None,
        *,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Attended:
        """Attention of one layer: rotation, temperature and bias of the encoding, then the kernel.

        Args:
            q: (B, H, N, d) queries of the new tokens.
            k: (B, G, N, d) keys of the new tokens; each head serves H/G heads of queries in a row.
            v: (B, G, N, d) values of the new tokens.
            hidden: (B, N, D) normed input of the layer.
            layer: number of the layer, from 0.
            causal: whether a query sees only its own key and those before it.
            cache: takes in the new keys and values, and holds those before them.
            window: of the model, beside that of the encoding: tokens that a query sees, None for all.
            softcap: c, for logits c·tanh(x/c) before the bias; None for none.

        Raises:
            ValueError: the window holds no token, or the cap is not above 0.
        """
        if window is not None and window < 1:
            raise ValueError(f"a window of {window} tokens leaves a query none to see")
        if softcap is not None and not softcap > 0:
            raise ValueError(f"a soft cap is above 0, not {softcap}")
        heads = q.shape[1]
        encoding, state = self.encoding, {} if cache is None else cache.state
        length = k.shape[2] + (0 if cache is None else cache.length)
        mask = AttentionMask(
            q.shape[2],
            length,
            causal,
            q.device,
            self.key_mask,
            _within(_narrower(encoding.window(layer), window), length),
            _within(encoding.chunk(layer), length),
        )
        with torch.autocast(q.device.type, enabled=False):
            if not all(_takes_shared_keys(part) for part in parts_of(encoding)):
                k = for_each_head(k, heads)
            x = AttentionInputs(q, k, hidden, self.table, self.table, layer, state, mask)
            q, k = prefix_tokens.rotate(encoding, x)
            if cache is not None:
                k, v = cache.append(k, v)
            if any(_acts_on_logits(part) for part in parts_of(encoding)):
                k = for_each_head(k, heads)
            x = x._replace(q=q, k=k, k_table=self.key_table)
            temperature = prefix_tokens.temperature(encoding, x)
            if temperature is not None:
                exact = torch.promote_types(q.dtype, torch.float32)
                q = (q.to(exact) * temperature[..., None]).to(q.dtype)
            bias = prefix_tokens.bias(encoding, x)
            if temperature is not None and isinstance(bias, Dense):
                # What depends on the logits takes the queries without the temperature.
                bias = replace(bias, counting=None, adjusting=None)
            return attend(q, k, v, bias, mask=mask, scale=encoding.scale(), softcap=softcap)


def encoded_positions(encoding: PositionEncoding, table: Table) -> EncodedPositions:
    """The positions of a forward pass without a cache, whose leading tokens may be `prefix_tokens`.

    Args:
        encoding: of the model.
        table: of the tokens that have positions.
    """
    tensors = (leaf for leaf in tree_flatten(table)[0] if isinstance(leaf, Tensor))
    device = next((tensor.device.type for tensor in tensors), "cpu")
    with torch.autocast(device, enabled=False):
        prefix = encoding.prefix_table() if encoding.geometry.prefix_tokens else None
        whole = prefix_tokens.joined(prefix, table)
    return EncodedPositions(encoding, whole, whole)


def _takes_shared_keys(encoding: PositionEncoding) -> bool:
    return encoding.shared_keys or type(encoding).rotate is PositionEncoding.rotate


def _acts_on_logits(encoding: PositionEncoding) -> bool:
    """Whether it has a hook that may read the keys of all heads."""
    kind = type(encoding)
    return kind.bias is not PositionEncoding.bias or kind.temperature is not PositionEncoding.temperature


def _narrower(one: int | None, other: int | None) -> int | None:
    """The narrower of two windows, None for none."""
    if one is None or other is None:
        return one or other
    return min(one, other)


def _within(size: int | None, length: int) -> int | None:
    """A window or chunk, None where it hides nothing of so many tokens."""
    return None if size is None or size >= length else size
