"""Products of queries and keys with a Householder-like matrix for each token between them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pebench.formulas.triangular_inverse import unit_lower_inverse

RUN = 64
"""Tokens whose product is computed at a time."""


def householder_changes(
    q: Tensor, k: Tensor, w: Tensor, beta: Tensor, turned: Tensor
) -> tuple[Tensor, Tensor]:
    """q_iᵀ (H_i H_{i−1} … H_{j+1}) k_j − q_iᵀ k_j with H_s = I − β_s w_s w_sᵀ, any number where j > i.

    Args:
        q: (B, H, N, d) of the new tokens.
        k: (B, H, K, d), the last of them those of the new tokens.
        w: (B, H, N, d) float32 at least, in which all is computed.
        beta: (B, H, N).
        turned: (B, H, K − N, d) like w the keys before them, as all tokens so far have multiplied them.

    Returns:
        (B, H, N, K) like w, and `turned` of all keys.
    """
    count, length, changes = q.shape[2], k.shape[2], []
    first = length - count
    inverses = _inverses(w, beta)
    for start in range(0, count, RUN):
        rows = slice(start, min(start + RUN, count))
        q_run, w_run, beta_run = q[:, :, rows].to(w.dtype), w[:, :, rows], beta[:, :, rows, None]
        keys = k[:, :, : first + rows.stop].to(w.dtype)
        turned = torch.cat((turned, keys[:, :, first + start :]), dim=2)
        met = beta_run * (w_run @ turned.mT).tril(first + start - 1)
        found = inverses[:, :, start // RUN, : rows.stop - start, : rows.stop - start] @ met
        change = q_run @ (turned - keys).mT - (q_run @ w_run.mT).tril() @ found
        changes.append(F.pad(change, (0, length - first - rows.stop)))
        turned = turned - found.mT @ w_run
    return torch.cat(changes, dim=2), turned


def _inverses(w: Tensor, beta: Tensor) -> Tensor:
    """(B, H, runs, RUN, RUN): those of the triangular systems of all runs, of which none waits for another. A
    run that is alone has as many rows as there are tokens."""
    size = min(RUN, w.shape[2])
    missing = -w.shape[2] % size
    runs = F.pad(w, (0, 0, 0, missing)).unflatten(2, (-1, size))
    steps = F.pad(beta, (0, missing)).unflatten(2, (-1, size))
    return unit_lower_inverse(steps[..., None] * (runs @ runs.mT))
