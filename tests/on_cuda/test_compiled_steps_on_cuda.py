"""A compiled step in bfloat16 goes where an uncompiled one does, with every encoding of one axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pebench.registry import encodings
from pebench.resolve import build_encoding, build_task, resolve
from pebench.running.checkpoint import State
from pebench.running.train import train

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    # The compiler says where it could do better: by rounding the factors of float32 products, which is for
    # the precision of a run to say, or without complex numbers.
    pytest.mark.filterwarnings(r"ignore::UserWarning:torch\._inductor"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:torch\._inductor"),
    # It looks at the gradients of all that a bias has captured, and is warned of those in between.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

ENCODINGS: list[Any] = [
    {"seqpe": {"positions": 4096, "dropout": 0.0}} if name == "seqpe" else name
    for name in encodings.origins()
    if 1 in encodings.literals(name).get("axes", (1,))
]
"""SeqPE without dropout, which compiled kernels draw in a way of their own."""

SMALL = 1e-3
"""Of the norm of all gradients: what a smaller one is made of is rounding."""


def _gradients(place: Path, encoding: Any, precision: str, compiled: bool) -> dict[str, Tensor]:
    """The gradients of the first step, by name of the parameter."""
    options = {"data": str(place / "text.txt"), "extent": 1024, "evaluate": [1024]}
    budget = {"steps": 1, "batch": 2, "precision": precision}
    spec = resolve(
        encoding,
        {"language-modeling": options},
        model={"width": 128, "layers": 2, "heads": 2},
        train=budget,
    )
    task = build_task(spec)
    task.prepare()
    built = build_encoding(spec.encoding.name, spec.encoding.options, task.geometry(), 0)
    model = task.build(built, 0).cuda()
    found: dict[str, Tensor] = {}

    def keep(optimiser: object, *arguments: object) -> None:
        named = model.named_parameters()
        found.update({name: p.grad.detach().cpu() for name, p in named if p.grad is not None})

    updates = torch.optim.SGD(model.parameters(), lr=0.0)
    updates.register_step_pre_hook(keep)
    device = torch.device("cuda")
    list(train(model, task, updates, spec.train, 0, State(), device, lambda step: False, compiled))
    return found


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_gradients_are_as_exact_as_uncompiled(place: Path, encoding: Any) -> None:
    exact = _gradients(place, encoding, "float32", compiled=False)
    uncompiled = _gradients(place, encoding, "bfloat16", compiled=False)
    compiled = _gradients(place, encoding, "bfloat16", compiled=True)
    least = SMALL * float(torch.stack([gradient.norm() for gradient in exact.values()]).norm())
    assert compiled.keys() == exact.keys()
    for name, gradient in exact.items():
        size = max(float(gradient.norm()), least)
        errors = [float((other[name] - gradient).norm()) / size for other in (compiled, uncompiled)]
        assert errors[0] < 2 * errors[1] + 0.02, name
