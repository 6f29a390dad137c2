"""Contracts of every encoding, as checks that its author and the tests run alike.

Each check builds a small model around the encoding (`subject`) with weights so large that a mistake shows.
`contracts` hold for every encoding, `identities` for those that claim them; `examination` runs all of them on
one, `cost` prices it, and `movement` says how far training can move it.
"""

from pebench.conformance.contracts import CONTRACTS, Contract
from pebench.conformance.cost import Cost, costs
from pebench.conformance.examination import Check, Finding, checks, examine
from pebench.conformance.identities import IDENTITIES
from pebench.conformance.movement import Moved, Movement, movement
from pebench.conformance.subject import VOCABULARY, Subject, assert_close, run_forward, subjects

__all__ = [
    "CONTRACTS",
    "IDENTITIES",
    "VOCABULARY",
    "Check",
    "Contract",
    "Cost",
    "Finding",
    "Moved",
    "Movement",
    "Subject",
    "assert_close",
    "checks",
    "costs",
    "examine",
    "movement",
    "run_forward",
    "subjects",
]
