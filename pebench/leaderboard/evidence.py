"""What is known of one run, wherever it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pebench.errors import UserError
from pebench.spec import RunSpec
from pebench.store import Result, RunFolder, SweepRecord


@dataclass(frozen=True)
class Evidence:
    """What one run says.

    Attributes:
        run_id: of the run.
        spec: what was asked for.
        result: what came out, None while there is nothing.
        provenance: where it comes from, see `pebench.running.provenance.describe`; empty before it began.
        failure: why its last attempt ended, empty if it did not end badly.
    """

    run_id: str
    spec: RunSpec
    result: Result | None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def data(self) -> dict[str, str]:
        """The fingerprints of the data that it read."""
        data = self.provenance.get("data")
        return {str(name): str(value) for name, value in data.items()} if isinstance(data, dict) else {}


def from_folders(runs: Path, sweep: SweepRecord) -> list[Evidence]:
    """What the folders of a sweep's runs say.

    Args:
        runs: the folder of runs. sweep: which of them.

    Raises:
        UserError: a cell has no folder, or a file in it cannot be read.
    """
    return [_read(runs, run_id, sweep.name) for run_id in sweep.runs]


def _read(runs: Path, run_id: str, sweep: str) -> Evidence:
    folder = RunFolder(runs / run_id)
    if not (folder.path / "spec.json").exists():
        raise UserError(f"run {run_id} of sweep '{sweep}' has no folder in '{runs}': submit the sweep again.")
    result = folder.result()
    failure = folder.failure() if result is None else None
    return Evidence(
        run_id, folder.spec(), result, folder.provenance(), failure.message if failure is not None else ""
    )
