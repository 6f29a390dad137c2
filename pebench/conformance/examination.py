"""All contracts on one encoding, in every setting that it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pebench.conformance.contracts import CONTRACTS, Contract
from pebench.conformance.subject import Subject, subjects
from pebench.errors import UserError


class Finding(NamedTuple):
    """The outcome of one contract.

    Attributes:
        contract: its docstring. setting: axes and kind of attention.
        fault: what went wrong, None if nothing did.
    """

    contract: str
    setting: str
    fault: str | None


def examine(name: str, options: Mapping[str, Any] | None = None, device: str = "cpu") -> Iterator[Finding]:
    """Runs every contract on an encoding in every setting it serves, on a device."""
    for subject in subjects(name, options, device):
        kind = "causal" if subject.causal else "bidirectional"
        setting = f"{subject.axes}-D, {kind}"
        for contract in CONTRACTS:
            title = " ".join((contract.__doc__ or contract.__name__).split())
            yield Finding(title, setting, _fault(contract, subject))


def _fault(contract: Contract, subject: Subject) -> str | None:
    try:
        contract(subject)
    except AssertionError as error:
        return str(error)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None
