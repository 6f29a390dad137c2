"""Cells that are carried out one after another in one process end as each does in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from specimens.tiny_sweeps import load

from pebench.running.execution import Execution
from pebench.store.run_folder import RunFolder
from pebench.submission.cells import run_all
from pebench.submission.progress import Lines
from pebench.sweeping.sweep import Sweep

ENCODINGS = ["none", "learned", "rope", "t5", "cope", "seqpe", "rope + window"]


def carried_out(runs: Path, sweep: Sweep, order: list[int], compiled: bool = False) -> dict[str, Any]:
    """Scores and weights of the runs of a sweep, carried out in an order in this process."""
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, {})
    execution = Execution(device="cpu", threads=1, compile=compiled)
    ids = [sweep.cells[number].run_id for number in order]
    assert not run_all(runs, ids, execution, Lines()).failed
    found = {}
    for run_id in ids:
        result = json.loads((runs / run_id / "result.json").read_bytes())
        weights = (runs / run_id / "model.safetensors").read_bytes()
        found[run_id] = result["scores"], weights
    return found


def test_the_order_of_cells_changes_no_result(place: Path) -> None:
    sweep = load(place, encodings=ENCODINGS, seeds=1)
    there = list(range(len(sweep.cells)))
    forwards = carried_out(place / "forwards", sweep, there)
    # What a run left behind in the process would be met by another one now.
    torch.manual_seed(7)
    backwards = carried_out(place / "backwards", sweep, there[::-1])
    assert forwards == backwards


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_what_a_run_compiled_serves_the_next_seed_and_changes_no_result(place: Path) -> None:
    from torch._dynamo.utils import counters

    sweep = load(place, encodings=["rope"], seeds=2)
    counters.clear()
    forwards = carried_out(place / "forwards", sweep, [0, 1], compiled=True)
    assert counters["stats"]["unique_graphs"] == 1
    backwards = carried_out(place / "backwards", sweep, [1, 0], compiled=True)
    assert counters["stats"]["unique_graphs"] == 1
    assert forwards == backwards
    torch.compiler.reset()
