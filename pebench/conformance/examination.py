"""All contracts on one encoding, in every setting that it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pebench.conformance.contracts import CONTRACTS, Contract
from pebench.conformance.subject import Subject, subjects
from pebench.errors import UserError


class Check(NamedTuple):
    """A contract on an encoding in one setting.

    Attributes:
        contract: raises an AssertionError that says what is wrong. subject: the encoding in its setting.
    """

    contract: Contract
    subject: Subject

    def __call__(self) -> None:
        """
        Raises:
            AssertionError: the encoding does not keep the contract.
        """
        self.contract(self.subject)

    def __str__(self) -> str:
        """Its name, for a list of tests."""
        return f"{self.contract.__name__} ({self.subject})"


def checks(name: str, options: Mapping[str, Any] | None = None, device: str = "cpu") -> list[Check]:
    """Every contract on an encoding in every setting it serves, for a test of one's own:
    ``@pytest.mark.parametrize("check", checks("mine"), ids=str)``, of which each is called.

    Args:
        name: as the registry knows it. options: of the encoding. device: to examine it on.

    Raises:
        UserError: there is no such encoding, or an option is wrong.
    """
    found = list(subjects(name, options, device))
    if found and found[0].encoding().fits:
        raise UserError(f"'{name}' fits numbers where a run is evaluated: it is checked with numbers given.")
    return [Check(contract, subject) for subject in found for contract in CONTRACTS]


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
    for check in checks(name, options, device):
        title = " ".join((check.contract.__doc__ or check.contract.__name__).split())
        yield Finding(title, str(check.subject), _fault(check))


def _fault(check: Check) -> str | None:
    try:
        check()
    except AssertionError as error:
        return str(error)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None
