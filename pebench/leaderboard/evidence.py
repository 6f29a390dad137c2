"""What is known of one run, wherever it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pebench.errors import UserError
from pebench.spec import RunSpec
from pebench.store import Result, RunFolder, SweepRecord, Unreadable
from pebench.sweeping.recorded import submitted_specs


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


def from_folders(runs: Path, sweep: SweepRecord) -> tuple[list[Evidence], list[str]]:
    """What the folders of a sweep's runs say.

    Args:
        runs: the folder of runs. sweep: which of them.

    Returns:
        What each run says, and a sentence for each that says too little. One whose folder or specification is
        gone counts as not begun, if the sweep still says what it was; one with another damage counts as not
        finished.

    Raises:
        UserError: a cell has no folder, and nothing says what it was.
    """
    found: list[Evidence] = []
    warnings: list[str] = []
    written: dict[str, RunSpec] | None = None
    for run_id in sweep.runs:
        folder = RunFolder(runs / run_id)
        try:
            spec = folder.spec()
        except Unreadable as error:
            written = submitted_specs(sweep, runs) if written is None else written
            if run_id in written:
                warnings.append(f"Cell {run_id} counts as not begun: {error}")
                found.append(Evidence(run_id, written[run_id], None, failure=str(error)))
            elif folder.path.exists():
                warnings.append(f"Cell {run_id} is left out: {error}")
            else:
                raise UserError(
                    f"run {run_id} of sweep '{sweep.name}' has no folder in '{runs}': submit the sweep again."
                ) from error
            continue
        try:
            found.append(_read(folder, spec))
        except Unreadable as error:
            warnings.append(f"Cell {run_id} counts as not finished: {error}")
            found.append(Evidence(run_id, spec, None, failure=str(error)))
    return found, warnings


def _read(folder: RunFolder, spec: RunSpec) -> Evidence:
    result = folder.result()
    failure = folder.failure() if result is None else None
    message = failure.message if failure is not None else ""
    return Evidence(folder.run_id, spec, result, folder.provenance(), message)
