"""`pebench cancel`: stop a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.completion import runs_and_sweeps
from pebench.command_line.parameter_types import runs_option


@click.command("cancel")
@click.argument("names", nargs=-1, required=True, metavar="SWEEP-or-RUN...", shell_complete=runs_and_sweeps)
@runs_option
def command(names: tuple[str, ...], runs: Path) -> None:
    """Stop every cell of each SWEEP that is queued or running, here or in SLURM, or one cell by its RUN's id.

    What is running finishes its step and writes a checkpoint; 'pebench submit' goes on from there.

    \b
    Examples:
      pebench cancel quickstart
      pebench cancel quickstart images-quickstart
      pebench cancel rope-3f
    """
    from pebench.submission.cancel import cancel, cancel_cell
    from pebench.sweeping.recorded import named_cell, recorded_sweeps

    cells = {name: run_id for name in names if (run_id := named_cell(runs, name))}
    for run_id in cells.values():
        stopping = cancel_cell(runs, run_id)
        click.echo(f"{run_id} {'is being stopped' if stopping else 'is not under way'}.")
    sweeps = [name for name in names if name not in cells]
    for record in recorded_sweeps(runs, sweeps) if sweeps else ():
        cancelled = cancel(runs, record)
        click.echo(f"{record.name}: {len(cancelled.cells)} of {len(record.runs)} cells are being stopped.")
        for run_id, other in cancelled.left.items():
            why = f"it runs for sweep '{other}'" if other else "nobody submitted it"
            click.echo(f"{run_id} goes on: {why}.")
