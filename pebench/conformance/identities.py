"""Identities that follow from a definition, for encodings to claim.

Each raises an AssertionError where it does not hold. A setting in which an identity says nothing passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pebench.conformance.subject import EXTENTS, Subject, assert_close, run_forward
from pebench.models.decoder import Decoder
from pebench.position_encoding import Extrapolation, grid

COUNT = 20
"""Tokens that are looked at."""

OTHER_PARAMETERS = "in 2-D it has other parameters than in 1-D"

FAR = {1: 600, 2: 36, 3: 36}
"""How far positions are shifted, by number of axes."""


@torch.no_grad()
def shift(subject: Subject) -> None:
    """Only distances count: moving all positions by a common offset changes nothing."""
    model, tokens = subject.model(), subject.tokens(COUNT)
    positions, reach = subject.scattered(COUNT)
    far = FAR[subject.axes]
    reach = Extrapolation(tuple(size + far for size in reach.extent), reach.method)
    here, there = (run_forward(model, tokens, positions + offset, reach) for offset in (0, far))
    assert_close(there, here, "a common shift of all positions changes the output")


@torch.no_grad()
def reversal(subject: Subject) -> None:
    """In bidirectional attention no direction counts: mirroring all positions changes nothing."""
    if subject.causal:
        return
    model, tokens = subject.model(), subject.tokens(COUNT)
    positions, reach = subject.scattered(COUNT)
    mirrored = torch.tensor(reach.extent, device=subject.device) - 1 - positions
    here, there = (run_forward(model, tokens, places, reach) for places in (positions, mirrored))
    assert_close(there, here, "mirroring all positions changes the output")


@torch.no_grad()
def grid_row(subject: Subject) -> None:
    """In 2-D on a grid of one row it is what it is in 1-D, with the same parameters."""
    if subject.axes != 2:
        return
    length = EXTENTS[1][0]
    row, line = (_on(subject, extent) for extent in ((1, length), (length,)))
    parameters = dict(line.encoding.named_parameters())
    for name, parameter in row.encoding.named_parameters():
        assert name in parameters, OTHER_PARAMETERS
        _take_from(parameter, parameters[name])
    tokens = subject.tokens(length)
    method = subject.declared.extrapolations[0]
    found, wanted = (
        run_forward(model, tokens, grid(extent).to(subject.device), Extrapolation(extent, method))
        for model, extent in ((row, (1, length)), (line, (length,)))
    )
    assert_close(found, wanted, "on a grid of one row it differs from what it is in 1-D")


Identity = Callable[[Subject], None]
IDENTITIES: dict[str, Identity] = {"shift": shift, "reversal": reversal, "grid-row": grid_row}


def _on(subject: Subject, extent: tuple[int, ...]) -> Decoder:
    """A model on a grid of its own."""
    return replace(subject, axes=len(extent), extent=extent, causal=False).model()


def _take_from(parameter: Tensor, of_line: Tensor) -> None:
    """Sets a parameter of the row to that of the line; of one for each axis, the last, along which the row
    runs."""
    if parameter.numel() == of_line.numel():
        parameter.copy_(of_line.view_as(parameter))
        return
    assert len(of_line) == 1, OTHER_PARAMETERS
    assert parameter.shape[1:] == of_line.shape[1:], OTHER_PARAMETERS
    parameter[-1:].copy_(of_line)
