"""Greedy decoding in the plainest code, to hold decoding through the cache and in batches against."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid, tabulate


@torch.no_grad()
def decode_plainly(
    model: Decoder, prompts: Sequence[Sequence[int]], reach: Extrapolation, limit: int
) -> list[list[int]]:
    """The new tokens behind each prompt, for every one of which the whole text is read anew."""
    device = next(model.parameters()).device
    found = []
    for prompt in prompts:
        text = list(prompt)
        for _ in range(limit):
            table = tabulate(model.encoding, grid((len(text),)).to(device), reach)
            hidden = model(torch.tensor([text], device=device), table)
            text.append(int(model.logits(hidden[0, -1]).float().argmax()))
        found.append(text[len(prompt) :])
    return found
