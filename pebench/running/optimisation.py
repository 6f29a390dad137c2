"""The optimiser and its schedule: AdamW (Loshchilov & Hutter 2019), a pure function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from pebench.spec import Training


def learning_rate(train: Training, step: int) -> float:
    """The learning rate of an update, counted from 0: linear warm-up, then the schedule down to `final`."""
    if step < train.warmup:
        return train.learning_rate * (step + 1) / train.warmup
    progress = (step - train.warmup) / max(1, train.steps - train.warmup)
    match train.schedule:
        case "constant":
            left = 1.0
        case "linear":
            left = 1 - progress
        case "cosine":
            left = (1 + math.cos(math.pi * progress)) / 2
    return train.learning_rate * (train.final + (1 - train.final) * left)


def optimiser(model: nn.Module, encoding: nn.Module, train: Training) -> torch.optim.AdamW:
    """AdamW over all parameters that need gradients; weight decay on the matrices of the model, and on
    nothing of the encoding, whose values mean positions."""
    spared = {id(parameter) for parameter in encoding.parameters()}
    spared |= {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in spared]
    others = [p for p in parameters if not (p.ndim >= 2 and id(p) not in spared)]
    groups = [
        {"params": decayed, "weight_decay": train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=1e-8, fused=True)
