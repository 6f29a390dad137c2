"""`pebench rename`: another name for a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.completion import sweeps as sweeps_of_user
from pebench.command_line.parameter_types import runs_option


@click.command("rename")
@click.argument("sweep", metavar="SWEEP", shell_complete=sweeps_of_user)
@click.argument("name", metavar="NAME")
@click.option("--dry-run", is_flag=True, help="Check both names, and change nothing.")
@runs_option
def command(sweep: str, name: str, dry_run: bool, runs: Path) -> None:
    """Give a submitted sweep another name. Its runs are named by what they are, and stay as they are.

    Files stay too: that of the sweep, which is another sweep when it is submitted under its old name, and
    results that were written, which 'pebench leaderboard NAME' writes anew. In MLflow the next sync makes an
    experiment of the new name; a run that was renamed in MLflow's pages keeps its name there.

    \b
    Examples:
      pebench rename quickstart quickstart-august
    """
    from pebench.submission.rename import plan, rename

    record = plan(runs, sweep, name)
    if not dry_run:
        rename(runs, record, name)
    click.echo(f"{record.name} {'would be' if dry_run else 'is'} {name} now: {len(record.runs)} cells")
