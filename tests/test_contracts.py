"""Every encoding keeps every contract: a new file in `encodings/` is tested by existing."""

from __future__ import annotations

import pytest
import torch
from specimens.encoding_subjects import OUTERMOST, SUBJECTS, title

from pebench.attention.kernels import possible_kernels
from pebench.conformance import CONTRACTS, Contract, Subject, contracts
from pebench.plugins.registry import encodings
from pebench.position_encoding import layer_inputs, tabulate

OF_CAUSAL_ONES = (contracts.causality, contracts.cached_decoding, contracts.left_padding)
"""Contracts that ask nothing of bidirectional attention."""


def _asked(contract: Contract) -> list[Subject]:
    """The settings in which a contract says something."""
    if contract is contracts.one_graph:
        # A compilation costs as much as all the others; what breaks a graph is seldom the number of axes.
        return OUTERMOST
    return [subject for subject in SUBJECTS if subject.causal or contract not in OF_CAUSAL_ONES]


@pytest.mark.parametrize(
    ("subject", "contract"),
    [
        pytest.param(subject, contract, id=f"{title(subject)}-{contract.__name__}")
        for contract in CONTRACTS
        for subject in _asked(contract)
    ],
)
def test_contract(subject: Subject, contract: Contract) -> None:
    contract(subject)


@pytest.mark.parametrize("name", encodings.origins())
def test_says_what_it_is(name: str) -> None:
    facts = encodings.literals(name)
    assert facts["summary"].endswith(".")
    assert "https://" in facts["source"]
    assert set(facts.get("acts", "")) <= set("IRBCTW")
    assert facts["cost"]


@pytest.mark.parametrize("name", encodings.origins())
@torch.no_grad()
def test_each_kernel_that_is_declared_serves_in_some_setting(name: str) -> None:
    possible: set[str] = set()
    for subject in (subject for subject in SUBJECTS if subject.name == name):
        encoding, (positions, reach) = subject.encoding().eval(), subject.scattered(5)
        # Some kernels serve positions without gaps alone.
        for places in (positions, positions[:, :1] + torch.arange(5)[:, None]):
            table = tabulate(encoding, places, reach)
            q, hidden = torch.randn(1, 4, 5, 16), torch.randn(1, 5, 64)
            x = layer_inputs(encoding, q, q, hidden, table, 0)
            windowed = x.mask.window is not None or x.mask.chunk is not None
            possible.update(possible_kernels(encoding.bias(x), windowed))
    assert set(encodings.load(name).kernels) == possible
    assert set(encodings.literals(name).get("kernels", ("fused",))) == possible
