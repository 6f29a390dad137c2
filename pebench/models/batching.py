"""Texts of many lengths in batches: which of them share one, and how they stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

TOKENS_AT_ONCE = 16_384
"""Tokens in a batch, padding included."""


def batches(lengths: Sequence[int], tokens_at_once: int, rows: int | None = None) -> Iterator[list[int]]:
    """Numbers of texts in falling order of length, as many at a time as fit beside the longest of them.

    Args:
        lengths: of the texts, in tokens. tokens_at_once: bounds a batch; a single text may be longer.
        rows: bounds a batch, too.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    start = 0
    while start < len(order):
        fit = max(1, tokens_at_once // max(1, lengths[order[start]]))
        count = min(fit, rows or fit)
        yield order[start : start + count]
        start += count


def padded(texts: Sequence[Sequence[int]], device: torch.device, left: bool) -> tuple[Tensor, Tensor | None]:
    """(B, N) tokens of texts, padded on one side, and what is no padding; None where nothing was padded."""
    longest = max(len(text) for text in texts)
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        place = slice(longest - len(text), longest) if left else slice(0, len(text))
        tokens[row, place] = torch.tensor(list(text), dtype=torch.long)
        mask[row, place] = True
    return tokens.to(device), None if bool(mask.all()) else mask.to(device)
