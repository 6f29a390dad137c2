"""Every encoding keeps every contract on CUDA, in float32 and under bfloat16 autocast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from specimens.encoding_subjects import VARIANTS, title

from pebench.attention.cache import Cache
from pebench.conformance import CONTRACTS, Contract, Subject, run_forward, subjects
from pebench.conformance.contracts import (
    HALF_TOLERANCE,
    beyond_the_trained_extent,
    declared_kernels,
    gradients,
    one_graph,
    repeatable_draws,
)
from pebench.plugins.registry import encodings
from pebench.position_encoding import tabulate

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

SUBJECTS = [
    replace(subject, device="cuda")
    for name in encodings.origins()
    for subject in (
        *subjects(name),
        # Of options the first setting alone: the others are held on the CPU.
        *(next(subjects(name, options)) for options in VARIANTS.get(name, [])),
    )
]

EAGER = [contract for contract in CONTRACTS if contract is not one_graph]
"""What breaks a graph breaks it on every device, and to look costs seconds each."""

AUTOCAST = [gradients, beyond_the_trained_extent, repeatable_draws, declared_kernels]
"""Contracts that hold under autocast as they stand, beside `half_precision`."""


@pytest.mark.parametrize("contract", EAGER, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=title)
def test_contract(subject: Subject, contract: Contract) -> None:
    contract(subject)


@pytest.mark.parametrize("contract", AUTOCAST, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("subject", [subject for subject in SUBJECTS if not subject.options], ids=title)
def test_contract_under_bfloat16(subject: Subject, contract: Contract) -> None:
    with torch.autocast("cuda", torch.bfloat16):
        contract(subject)


@pytest.mark.parametrize("subject", [subject for subject in SUBJECTS if subject.causal], ids=title)
@torch.no_grad()
def test_decoding_with_a_cache_in_bfloat16_stays_near_the_full_pass(subject: Subject) -> None:
    model, tokens = subject.model(), subject.tokens(20)
    positions, reach = subject.scattered(20)
    cache, parts = Cache(3), []
    with torch.autocast("cuda", torch.bfloat16):
        full = run_forward(model, tokens, positions, reach)
        for start, stop in [(0, 7), (7, 8), (8, 9), (9, 14), (14, 20)]:
            table = tabulate(model.encoding, positions[:, start:stop], reach)
            parts.append(model(tokens[:, start:stop], table, cache=cache))
    difference = torch.cat(parts, 1).float() - full.float()
    assert float(difference.square().mean().sqrt()) < HALF_TOLERANCE / 2
