"""`pebench cancel`: stop a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.parameters import runs_option


@click.command("cancel")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...")
@runs_option
def command(sweeps: tuple[str, ...], runs: Path) -> None:
    """Stop every cell of each SWEEP that is queued or running, here or in SLURM.

    What is running finishes its step and writes a checkpoint; 'pebench submit' goes on from there.

    \b
    Examples:
      pebench cancel quickstart
      pebench cancel quickstart images-quickstart
    """
    from pebench.submission.cancel import cancel
    from pebench.sweeping.recorded import recorded_sweeps

    for record in recorded_sweeps(runs, sweeps):
        cancelled = cancel(runs, record)
        click.echo(f"{record.name}: {len(cancelled.cells)} of {len(record.runs)} cells are being stopped.")
        for run_id, other in cancelled.left.items():
            why = f"it runs for sweep '{other}'" if other else "nobody submitted it"
            click.echo(f"{run_id} goes on: {why}.")
