"""The optimiser, AdamW or one of timm's, and its learning rate, a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pebench.machine.torchvision_operators import declare_missing
from pebench.specification.run_spec import EncodingTraining, Training


def learning_rate(train: Training, step: int, highest: float | None = None) -> float:
    """The learning rate of an update, counted from 0: linear warm-up, then the schedule down to `final`.

    Args:
        train: gives the schedule. step: counted from 0.
        highest: in place of the model's own.
    """
    highest = highest or train.learning_rate
    if step < train.warmup:
        return highest * (step + 1) / train.warmup
    progress = (step - train.warmup) / max(1, train.steps - train.warmup)
    match train.schedule:
        case "constant":
            left = 1.0
        case "warmup-stable-decay":
            left = 1 - max(0, step - (train.steps - train.decay)) / train.decay
        case "linear":
            left = 1 - progress
        case "cosine":
            left = (1 + math.cos(math.pi * progress)) / 2
    return highest * (train.final + (1 - train.final) * left)


def optimiser(model: nn.Module, encoding: nn.Module, train: Training) -> torch.optim.Optimizer:
    """The optimiser of all parameters that need gradients. Weight decay acts on the matrices of the model: on
    no embedding of tokens, nothing that a model of timm calls `no_weight_decay`, and nothing of the encoding,
    whose values mean positions, unless its own settings say so.

    The encoding has groups of its own, which say `encoding`, where its rate, decay or moments are its own.
    """
    own = {id(parameter) for parameter in encoding.parameters()}
    spared = {
        id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and id(m.weight) not in own
    }
    spared |= {id(model.get_parameter(name)) for name in getattr(model, "no_weight_decay", set)()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    settings = train.encoding
    if settings.model_copy(update={"clip": None}) == EncodingTraining():
        groups = _groups(parameters, train.weight_decay, spared | own)
    else:
        groups = _groups([p for p in parameters if id(p) not in own], train.weight_decay, spared)
        shared: dict[str, Any] = {"encoding": True, "highest": settings.learning_rate or train.learning_rate}
        if settings.betas is not None:
            shared["betas"] = settings.betas
        spared |= {id(m.weight) for m in encoding.modules() if isinstance(m, nn.Embedding)}
        theirs = _groups([p for p in parameters if id(p) in own], settings.weight_decay, spared)
        groups += [group | shared for group in theirs]
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


def set_rates(updates: torch.optim.Optimizer, train: Training, step: int) -> None:
    """Sets the learning rate of an update, counted from 0."""
    for group in updates.param_groups:
        group["lr"] = learning_rate(train, step, group.get("highest"))


def rates(updates: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rates of the newest update, by name; that of the encoding where it is its own."""
    found = {"learning-rate": float(updates.param_groups[0]["lr"])}
    own = next((group for group in updates.param_groups if group.get("encoding")), None)
    return found if own is None else found | {"encoding-learning-rate": float(own["lr"])}


class Clipping:
    """Bounds the gradient, that of the encoding by itself where its settings say so."""

    def __init__(self, model: nn.Module, encoding: nn.Module, train: Training) -> None:
        """
        Args:
            model: all parameters. encoding: those of the encoding among them. train: gives the bounds.
        """
        parameters, own = list(model.parameters()), {id(parameter) for parameter in encoding.parameters()}
        bound, bound_of_own = train.clip or math.inf, train.encoding.clip
        self._parts = [(parameters, bound)]
        if bound_of_own is not None:
            parts = [
                ([p for p in parameters if id(p) not in own], bound),
                ([p for p in parameters if id(p) in own], bound_of_own or math.inf),
            ]
            self._parts = [part for part in parts if part[0]]

    def __call__(self) -> Tensor:
        """Clips, and returns the norm that the whole gradient had before."""
        norms = [torch.nn.utils.clip_grad_norm_(parameters, bound) for parameters, bound in self._parts]
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm()


def _groups(parameters: list[nn.Parameter], decay: float, spared: set[int]) -> list[dict[str, Any]]:
    """Matrices with decay, and the others, which have none, in groups that are not empty."""
    decayed = [p for p in parameters if p.ndim >= 2 and id(p) not in spared]
    others = [p for p in parameters if not (p.ndim >= 2 and id(p) not in spared)]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
