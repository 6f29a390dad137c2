"""Every encoding computes in a model of float64, whatever its options, and in no less than float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from specimens.encoding_subjects import SUBJECTS, title

from pebench.conformance import Subject
from pebench.conformance.contracts import cached_decoding, left_padding
from pebench.conformance.subject import run_forward
from pebench.models.decoder import Decoder

TOLERANCE = 1e-4
"""Of float32, as a share of the outputs. Angles of half precision are off by a hundred times as much."""


class InFloat64(Subject):
    """The same in a model that was cast to float64."""

    def model(self, layers: int = 3) -> Decoder:
        return super().model(layers).double()


@pytest.mark.parametrize("subject", SUBJECTS, ids=title)
def test_every_encoding_acts_in_a_model_of_float64(subject: Subject) -> None:
    model, tokens = subject.model(), subject.tokens(24)
    positions, reach = subject.grid(), subject.reach()
    wanted = run_forward(model, tokens, positions, reach).detach()
    found = run_forward(model.double(), tokens, positions, reach)
    assert found.dtype == torch.float64
    difference = float((found.detach() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())
    assert difference < TOLERANCE
    found.square().sum().backward()
    for name, parameter in model.encoding.named_parameters():
        assert parameter.dtype == torch.float64, name
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("contract", [cached_decoding, left_padding], ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=title)
def test_caches_and_padding_hold_in_float64_too(
    subject: Subject, contract: Callable[[Subject], None]
) -> None:
    contract(InFloat64(subject.name, subject.axes, subject.causal, subject.options))
