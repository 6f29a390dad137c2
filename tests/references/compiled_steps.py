"""A compiled step in bfloat16 beside an uncompiled one, with every encoding of one axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pebench.encoding_config import build_encoding, serving
from pebench.resolve import build_task, resolve
from pebench.running.checkpoint import State
from pebench.running.train import train

ENCODINGS: list[Any] = [
    {"seqpe": {"positions": 4096, "dropout": 0.0}} if name == "seqpe" else name
    for name in serving(1, causal=True)
]
"""SeqPE without dropout, which compiled kernels draw in a way of their own."""

WIDTH = 128
"""Of the model, less than that from which on blocks are compiled one by one."""

SMALL = 1e-3
"""Of the norm of all gradients: what a smaller one is made of is rounding."""


def compare_with_uncompiled(place: Path, encoding: Any, layers: int, extent: int, device: str) -> None:
    """Compiled, the gradient of each parameter is as near to float32's as uncompiled.

    Args:
        place: a folder with a text. encoding: as in a sweep.
        layers: of the model. extent: tokens of each of four texts.
    """
    exact, uncompiled = (
        _gradients(place, encoding, layers, extent, device, precision, compiled=False)
        for precision in ("float32", "bfloat16")
    )
    torch.compiler.reset()  # past a bound PyTorch would go on uncompiled
    compiled = _gradients(place, encoding, layers, extent, device, "bfloat16", compiled=True)
    least = SMALL * float(torch.stack([gradient.norm() for gradient in exact.values()]).norm())
    assert compiled.keys() == exact.keys()
    for name, gradient in exact.items():
        size = max(float(gradient.norm()), least)
        errors = [float((other[name] - gradient).norm()) / size for other in (compiled, uncompiled)]
        assert errors[0] < 2 * errors[1] + 0.02, f"{name}: {errors}"


def _gradients(
    place: Path, encoding: Any, layers: int, extent: int, device: str, precision: str, compiled: bool
) -> dict[str, Tensor]:
    """The gradients of the first step, by name of the parameter."""
    options = {"data": str(place / "text.txt"), "extent": extent, "evaluate": [extent]}
    spec = resolve(
        encoding,
        {"language-modeling": options},
        model={"width": WIDTH, "layers": layers, "heads": 2},
        train={"steps": 1, "batch": 4, "precision": precision},
    )
    task = build_task(spec)
    task.prepare()
    built = build_encoding(spec.encoding.name, spec.encoding.options, task.geometry(), 0)
    model = task.build(built, 0).to(device)
    found: dict[str, Tensor] = {}

    def keep(optimiser: object, *arguments: object) -> None:
        named = model.named_parameters()
        found.update({name: p.grad.detach().cpu() for name, p in named if p.grad is not None})

    updates = torch.optim.SGD(model.parameters(), lr=0.0)
    updates.register_step_pre_hook(keep)
    where = torch.device(device)
    list(train(model, task, updates, spec.train, 0, State(), where, lambda step: False, compiled))
    return found
