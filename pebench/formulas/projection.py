"""Linear maps of the content, with which encodings read something off it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


def each(count: int, build: Callable[[], Part]) -> Sequence[Part]:
    """As many modules as there are layers, each with weights of its own."""
    return cast("Sequence[Part]", nn.ModuleList(build() for _ in range(count)))


def projection(inputs: int, outputs: int, bias: float | None = None, std: float = 0.02) -> nn.Linear:
    """A Linear with weights drawn from N(0, std²), by default GPT-2's.

    Args:
        inputs: channels that it reads.
        outputs: numbers that it gives.
        bias: initial value of the bias; None for none.
        std: of the weights.
    """
    linear = nn.Linear(inputs, outputs, bias=bias is not None)
    if linear.weight.is_meta:
        # Built to be asked, as for every cell of a sweep; drawing no values takes PyTorch milliseconds there.
        return linear
    nn.init.normal_(linear.weight, std=std)
    if bias is not None:
        nn.init.constant_(linear.bias, bias)
    return linear
