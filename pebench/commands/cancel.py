"""`pebench cancel`: stop a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.parameters import runs_option


@click.command("cancel")
@click.argument("sweep")
@runs_option
def command(sweep: str, runs: Path) -> None:
    """Stop every cell of SWEEP that is queued or running, here or in SLURM.

    What is running finishes its step and writes a checkpoint; 'pebench submit' goes on from there.

    \b
    Example:
      pebench cancel quickstart
    """
    from pebench.submission.cancel import cancel
    from pebench.sweeping.recorded import recorded_sweep

    record = recorded_sweep(runs, sweep)
    cancelled = cancel(runs, record)
    click.echo(f"{record.name}: {len(cancelled.cells)} of {len(record.runs)} cells are being stopped.")
    for run_id, other in cancelled.left.items():
        why = f"it runs for sweep '{other}'" if other else "nobody submitted it"
        click.echo(f"{run_id} goes on: {why}.")
