"""Every encoding keeps every contract: a new file in `encodings/` is tested by existing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pebench.attention.kernels import possible_kernels
from pebench.conformance import CONTRACTS, Contract, Subject, subjects
from pebench.registry import encodings

VARIANTS: dict[str, list[dict[str, object]]] = {
    "cope": [{"p_max": 3}],
    "fire": [{"shared": True}],
    "kerple": [{"kind": "power"}],
    "liere": [{"block": 2}],
    "lookhere": [{"view": 180}, {"view": 45}],
    "rope": [{"rotated": 0.5}, {"frequencies": 0.75}],
    "seqpe": [
        {"apply": "input"},
        {"apply": "add"},
        {"apply": "multiply"},
        {"apply": "scalar", "project": "per-layer"},
        {"apply": "add", "project": "none"},
        {"base": 3, "mask_padding": True},
        {"bidirectional": True},
    ],
}
"""Options that take other paths through an encoding than its defaults do."""

SUBJECTS = [
    subject
    for name in encodings.origins()
    for options in [{}, *VARIANTS.get(name, [])]
    for subject in subjects(name, options)
]


def _title(subject: Subject) -> str:
    options = "".join(f"-{key}={value}" for key, value in subject.options.items())
    return f"{subject.name}{options}-{subject.axes}d-{'causal' if subject.causal else 'bidirectional'}"


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=_title)
def test_contract(subject: Subject, contract: Contract) -> None:
    contract(subject)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=_title)
def test_contract_on_cuda(subject: Subject, contract: Contract) -> None:
    contract(replace(subject, device="cuda"))


@pytest.mark.parametrize("name", encodings.origins())
def test_says_what_it_is(name: str) -> None:
    facts = encodings.literals(name)
    assert facts["summary"].endswith(".")
    assert "https://" in facts["source"]
    assert set(facts.get("acts", "")) <= set("IRBC")
    assert facts["cost"]


@pytest.mark.parametrize("name", encodings.origins())
@torch.no_grad()
def test_each_kernel_that_is_declared_serves_in_some_setting(name: str) -> None:
    possible: set[str] = set()
    for subject in (subject for subject in SUBJECTS if subject.name == name):
        encoding, (positions, reach) = subject.encoding().eval(), subject.scattered(5)
        table = encoding.table(positions, reach)
        q, hidden = torch.randn(1, 4, 5, 16), torch.randn(1, 5, 64)
        possible.update(possible_kernels(encoding.bias(q, q, hidden, table, table, 0, {})))
    assert set(encodings.load(name).kernels) == possible
    assert set(encodings.literals(name).get("kernels", ("fused",))) == possible
