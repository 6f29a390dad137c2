"""Products of queries and keys whose channels decay with what stands between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PART = 16
"""Queries for which the keys are counted from one place. Within a part each pair has an exponential of its
own, since a factor of the key alone could grow without bounds."""


def decayed_products(q: Tensor, k: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """Σ_n q_in·k_jn·exp(P_in − P_jn) of a block of causal attention, any number where j > i.

    Args:
        q: (B, H, rows, d).
        k: (B, H, keys, d), the last of them those of the rows.
        here: (B, H, rows, d) P of the rows.
        there: (B, H, keys, d) P of the keys.

    Returns:
        (B, H, rows, keys).
    """
    count, before = q.shape[2], k.shape[2] - q.shape[2]
    start = here[:, :, :1]
    distant = (q * _decay(here, start)) @ (k[:, :, :before] * _decay(start, there[:, :, :before])).mT
    q, k, here, there = (
        F.pad(x, (0, 0, 0, -count % PART)).unflatten(2, (-1, PART))
        for x in (q, k[:, :, before:], here, there[:, :, before:])
    )
    start = here[:, :, :, :1]
    all_keys, all_sums = (x.flatten(2, 3)[:, :, None] for x in (k, there))
    near = (q * _decay(here, start)) @ (all_keys * _decay(start, all_sums)).mT
    decays = _decay(here[..., :, None, :], there[..., None, :, :])
    same_part = ((k[..., None, :, :] * decays) @ q[..., None])[..., 0]
    parts = torch.eye(q.shape[2], dtype=torch.bool, device=q.device)[:, None, :, None]
    near = torch.where(parts, same_part[:, :, :, :, None], near.unflatten(-1, (-1, PART)))
    return torch.cat((distant, near.flatten(4, 5).flatten(2, 3)[:, :, :count, :count]), dim=-1)


def _decay(later: Tensor, earlier: Tensor) -> Tensor:
    """exp(later − earlier) of float64 sums, at most one, which it would exceed only where nobody looks."""
    return (later - earlier).clamp(max=0).float().exp()
