"""Sums along the sequence that go on from call to call when decoding with a cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def accumulate(new: Tensor, carry: dict[str, Tensor]) -> Tensor:
    """The running sums of a quantity, at all positions seen so far.

    Args:
        new: (B, H, N) its values at the new positions.
        carry: of this layer, empty at the start of the sequence; keeps the sums for the next call.

    Returns:
        (B, H, K) float64, for K positions seen. In float32 a sum over ten thousand tokens has no digits left
        for the difference between neighbours, which is what attention looks at.
    """
    sums = _compiled_sums(new) if torch.compiler.is_compiling() else _sums(new)
    if "sums" in carry:
        before = carry["sums"]
        sums = torch.cat((before, before[..., -1:] + sums), dim=-1)
    carry["sums"] = sums
    return sums


def _sums(new: Tensor) -> Tensor:
    return new.to(torch.float64, memory_format=torch.contiguous_format).cumsum(-1)


def _sums_from_the_end(new: Tensor) -> Tensor:
    return new.flip(-1).contiguous().cumsum(-1).flip(-1)


# As operators a compiler leaves them as they are: that of PyTorch 2.11 for CUDA fails at some of the sums it
# fuses with what comes before them.
_compiled_sums = torch.library.custom_op(
    "pebench::sums", _sums, mutates_args=(), schema="(Tensor new) -> Tensor"
)
_compiled_sums_from_the_end = torch.library.custom_op(
    "pebench::sums_from_the_end", _sums_from_the_end, mutates_args=(), schema="(Tensor new) -> Tensor"
)


@_compiled_sums.register_fake
@_compiled_sums_from_the_end.register_fake
def _shape(new: Tensor) -> Tensor:
    return torch.empty(new.shape, dtype=torch.float64, device=new.device)


def _keep_dtype(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.dtype = inputs[0].dtype


def _gradient(ctx: Any, gradient: Tensor) -> Tensor:
    found: Tensor = _compiled_sums_from_the_end(gradient).to(ctx.dtype)
    return found


_compiled_sums.register_autograd(_gradient, setup_context=_keep_dtype)
