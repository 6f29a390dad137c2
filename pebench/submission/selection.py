"""Which sweep a user means."""

from __future__ import annotations

import sys
from pathlib import Path

from pebench.errors import UserError, unknown
from pebench.options import validated
from pebench.store import RunFolder, SweepRecord, read_sweeps
from pebench.sweeping import yaml_file
from pebench.sweeping.sweep import Sweep, SweepFile, read


def submitted_sweep(runs: Path, sweep: str) -> SweepRecord:
    """What was submitted under the name of a sweep, or under that of its file.

    Raises:
        UserError: nothing was; the sentence names the nearest.
    """
    records = {record.name: record for record in read_sweeps(runs)}
    if sweep in records:
        return records[sweep]
    if Path(sweep).suffix not in (".yaml", ".yml"):
        raise unknown("sweep", sweep, records)
    file, source = read(Path(sweep))
    if file.name not in records:
        raise UserError(
            f"sweep '{file.name}' has not been submitted into {runs}: 'pebench submit {sweep}' does it."
        )
    if records[file.name].source != source:
        sys.stderr.write(
            f"pebench: {sweep} has changed since it was submitted; this is what was submitted.\n"
        )
    return records[file.name]


def as_submitted(runs: Path, record: SweepRecord) -> Sweep:
    """The sweep of a record, from the folders of its runs; its file need not be there any more.

    Raises:
        UserError: the folder of a run is gone.
    """
    values = yaml_file.parse(record.source, f"sweep '{record.name}'")
    file = validated(SweepFile, {"name": record.name, **values}, f"sweep '{record.name}'")
    cells = tuple(RunFolder(runs / run_id).spec() for run_id in record.runs)
    return Sweep(
        name=record.name,
        source=record.source,
        cells=cells,
        baseline=record.baseline,
        execution=file.execution,
    )
