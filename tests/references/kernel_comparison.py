"""Kernels of attention beside the plain form in float64: what both are given, and what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def draw_tokens(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    device: str,
    draws: torch.Generator,
    size: float = 1.0,
) -> list[Tensor]:
    """Queries, keys, values, and what the output is weighted with: (B, H, N, d), with the heads of a token
    side by side, as projections leave them.

    Args:
        shape: (B, N, H, d). size: of the numbers that queries and keys are drawn with.
    """
    return [
        (factor * torch.randn(shape, generator=draws)).to(device, dtype).transpose(1, 2)
        for factor in (size, size, 1.0, 1.0)
    ]


def compare_with_plain(
    out: Tensor,
    weights: Tensor,
    leaves: Mapping[str, Tensor],
    plain: Callable[..., Tensor],
    tolerance: Mapping[torch.dtype, float],
) -> None:
    """Holds an output, and the gradients of all that it comes from, against those of the plain form.

    Args:
        out: of the kernels. weights: of its numbers in what is gone back from.
        leaves: that it comes from, by name; queries are the first.
        plain: the output, of the leaves in float64.
        tolerance: of the largest number that there is, by the dtype of the queries.
    """
    q = next(iter(leaves.values()))
    assert out.dtype == q.dtype
    assert out.stride() == q.stride(), "the output would be copied before it is projected"
    found = torch.autograd.grad((out * weights).sum(), list(leaves.values()))
    exact = [x.detach().double().requires_grad_() for x in leaves.values()]
    wanted = plain(*exact)
    of_wanted = torch.autograd.grad((wanted * weights.double()).sum(), exact)
    _assert_close("output", out, wanted, tolerance[q.dtype])
    for name, one, other in zip(leaves, found, of_wanted, strict=True):
        _assert_close(f"gradient of {name}", one, other, tolerance[q.dtype])


def _assert_close(name: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    largest = max(1.0, float(wanted.detach().abs().max()))
    difference = float((found.double() - wanted).detach().abs().max())
    assert difference <= tolerance * largest, f"{name}: {difference:.2g} of {largest:.2g}"
