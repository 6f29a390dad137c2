"""Attention in the plainest code and float64, to hold the kernels against."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.attention.kernels import attend
from pebench.attention_mask import AttentionMask
from pebench.position_encoding import Bias


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None = None,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
) -> Tensor:
    """softmax(q·k/√d + bias)·v with the whole matrix, in float64; the queries are the last of the keys."""
    q, k, v = q.double(), k.double(), v.double()
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if bias is not None:
        logits = logits + bias.double()
    n, length = logits.shape[-2:]
    query = torch.arange(length - n, length)[:, None]
    key = torch.arange(length)[None]
    hidden = key > query if causal else torch.zeros(n, length, dtype=torch.bool)
    hidden = hidden[None, None]
    if key_mask is not None:
        hidden = hidden | (~key_mask[:, None, None] & (key != query))
    out: Tensor = logits.masked_fill(hidden, float("-inf")).softmax(-1) @ v
    return out


def attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Bias | None = None,
    *,
    causal: bool,
    key_mask: Tensor | None = None,
) -> Tensor:
    """The output of `attend` with logits scaled by 1/√d."""
    mask = AttentionMask(q.shape[2], k.shape[2], causal, q.device, key_mask)
    return attend(q, k, v, bias, mask=mask, scale=q.shape[-1] ** -0.5).values
