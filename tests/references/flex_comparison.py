"""Flex attention beside blocks of queries, for every encoding whose bias can be given number by number."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pebench.attention import kernels
from pebench.attention.flex import attend_by_score
from pebench.attention_mask import AttentionMask
from pebench.conformance import Subject, subjects
from pebench.plugins.registry import encodings
from pebench.position_encoding import Dense, grid, layer_inputs, tabulate


def bias_of(subject: Subject, count: int, device: str = "cpu") -> tuple[Dense | None, list[Tensor]]:
    """The dense bias of an encoding at positions with gaps, on several axes at the last cells of a grid, None
    if it has no form by number, and the parameters behind it."""
    encoding = subject.encoding().to(device)
    positions, reach = subject.scattered(count)
    if subject.axes > 1:
        extent = (math.ceil(count ** (1 / subject.axes)) + 1,) * subject.axes
        positions, reach = grid(extent)[:, -count:], reach._replace(extent=extent)
    table = tabulate(encoding, positions.to(device), reach)
    q = torch.randn(2, 4, count, 16, device=device)
    bias = encoding.bias(layer_inputs(encoding, q, q, torch.randn(2, count, 64, device=device), table, 1))
    parameters: list[Tensor] = list(encoding.parameters())
    return (bias if isinstance(bias, Dense) and bias.score is not None else None), parameters


def scored() -> list[Subject]:
    """Every encoding whose bias can be given number by number, in every setting where it is."""
    found = [subject for name in encodings.origins() for subject in subjects(name)]
    found += [*subjects("kerple", {"kind": "power"}), *subjects("lookhere", {"view": 45})]
    with torch.no_grad():
        return [subject for subject in found if bias_of(subject, 4)[0] is not None]


SCORED = scored()


def compare(
    subject: Subject,
    count: int,
    mask: Tensor | None,
    dtype: torch.dtype,
    device: str,
    softcap: float | None = None,
) -> None:
    """Outputs and all gradients against those of blocks in float32."""
    # Each side has an encoding of its own, equal to the other's: compiled kernels are gone back through once.
    (bias, parameters), (other_bias, other_parameters) = (bias_of(subject, count, device) for _ in range(2))
    assert bias is not None
    assert bias.score is not None
    assert other_bias is not None
    generator = torch.Generator().manual_seed(0)
    q, k, v, weights = (
        torch.randn(2, 4, count, 16, generator=generator).to(device, dtype).requires_grad_() for _ in range(4)
    )
    seen = AttentionMask(count, count, subject.causal, q.device, mask)
    scale = q.shape[-1] ** -0.5
    found = attend_by_score(q, k, v, bias.score, mask=seen, scale=scale, softcap=softcap)
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    wanted = kernels._blocked(exact[0], exact[1], exact[2], seen, other_bias, scale, softcap)
    half = dtype != torch.float32
    tolerance = 3e-2 if half else 1e-5
    torch.testing.assert_close(found.float(), wanted, atol=tolerance, rtol=tolerance)
    pairs = [
        torch.autograd.grad((out * weights.to(out.dtype)).sum(), leaves, allow_unused=True)
        for out, leaves in ((found, [q, k, v, *parameters]), (wanted, [*exact, *other_parameters]))
    ]
    # A kernel in half precision leaves noise in what should add up to nothing, such as what a bias has in
    # common for all keys: in proportion to the largest that it computes.
    largest = max(float(other.abs().max()) for other in pairs[1] if other is not None)
    for one, other in zip(*pairs, strict=True):
        if one is None or other is None:
            # Of another layer.
            assert one is other
            continue
        scale = max(1.0, largest if half else float(other.abs().max()))
        difference = float((one.float() - other).abs().max())
        assert difference <= (3e-2 if half else 2e-5) * scale
