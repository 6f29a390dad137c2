"""The optimiser, AdamW or one of timm's, and its learning rate, a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from pebench.spec import Training
from pebench.torchvision_operators import declare_missing


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


def optimiser(model: nn.Module, encoding: nn.Module, train: Training) -> torch.optim.Optimizer:
    """The optimiser of all parameters that need gradients. Weight decay acts on the matrices of the model: on
    nothing of the encoding, whose values mean positions, no embedding of tokens, and nothing that a model of
    timm calls `no_weight_decay`."""
    spared = {id(parameter) for parameter in encoding.parameters()}
    spared |= {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    spared |= {id(model.get_parameter(name)) for name in getattr(model, "no_weight_decay", set)()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in spared]
    others = [p for p in parameters if not (p.ndim >= 2 and id(p) not in spared)]
    groups = [
        {"params": decayed, "weight_decay": train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if train.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=1e-8, fused=True)
    declare_missing()
    from timm.optim import create_optimizer_v2, get_optimizer_info

    moments: dict[str, Any] = {}
    if get_optimizer_info(train.optimiser).has_betas:
        moments["betas"] = train.betas
    return create_optimizer_v2(
        groups, train.optimiser, lr=train.learning_rate, momentum=train.betas[0], **moments
    )
