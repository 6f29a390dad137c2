"""Code and machine behind a run, as its provenance says; no host's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_RUN = ("commit", "dirty", "pebench", "python", "device", "cuda", "threads")
_MACHINE = ("processor", "cpu_capability")
ENVIRONMENT = (*_RUN, *_MACHINE)
"""What is told of every run; see `pebench.running.provenance.describe`."""


def environment(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a run, by name; None for what was not recorded, as by an earlier version.

    Args:
        provenance: of the run; empty before it began.
    """
    machine = provenance.get("machine")
    of_machine = machine if isinstance(machine, Mapping) else {}
    return {name: provenance.get(name) for name in _RUN} | {name: of_machine.get(name) for name in _MACHINE}


def from_text(row: Mapping[str, str]) -> dict[str, Any]:
    """The provenance whose `environment` a row of `runs.csv` holds.

    Args:
        row: text by column; a column may be missing, and is empty where nothing is known.
    """
    known: dict[str, Any] = {name: row[name] for name in _RUN if row.get(name)}
    known |= {name: json.loads(known[name]) for name in ("dirty", "threads") if name in known}
    machine = {name: row[name] for name in _MACHINE if row.get(name)}
    return known | ({"machine": machine} if machine else {})


def processor(provenance: Mapping[str, Any]) -> str:
    """The processor that a run computed on and the instructions that PyTorch's kernels for it used, as in
    ``AMD EPYC 9654, AVX512``; empty where it was not recorded."""
    found = environment(provenance)
    return ", ".join(str(found[name]) for name in _MACHINE if found[name])
