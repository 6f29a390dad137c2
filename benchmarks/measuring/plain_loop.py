"""A training loop in plain PyTorch, as one would write it by hand, for whatever model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from measuring.alternation import device
from measuring.training import allow_many_compilations
from torch import Tensor, nn

Loop = Iterator[object]
"""A training; each element is an update."""


@dataclass(frozen=True)
class Conditions:
    """The setting that both sides compute in.

    Attributes:
        half: bfloat16 under autocast. compiled: through `torch.compile`. fused: the optimiser and, where it
            is a choice, attention. flush: denormal numbers are taken for zero.
    """

    half: bool
    compiled: bool
    fused: bool
    flush: bool


def plain_updates(model: nn.Module, chosen: argparse.Namespace, how: Conditions) -> Loop:
    """Endless training: cross entropy of all logits, gradients clipped at norm 1, AdamW."""
    where = device()
    if how.compiled:
        allow_many_compilations()
    model = model.to(where).train()
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=how.fused)

    def loss_of(tokens: Tensor) -> Tensor:
        logits = model(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    compiled = torch.compile(loss_of, dynamic=False) if how.compiled else loss_of
    generator = torch.Generator().manual_seed(0)
    batches = [
        torch.randint(chosen.vocabulary, (chosen.batch, chosen.extent + 1), generator=generator)
        for _ in range(8)
    ]
    batches = [batch.pin_memory() for batch in batches] if where.type == "cuda" else batches
    while True:
        for batch in batches:
            with torch.autocast(where.type, torch.bfloat16, enabled=how.half):
                loss = compiled(batch.to(where, non_blocking=True))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            yield loss.detach()
