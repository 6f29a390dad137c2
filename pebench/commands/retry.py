"""`pebench retry`: start again what did not end well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.cluster_options import ClusterCommand, requested
from pebench.command_line.completion import runs_and_sweeps
from pebench.command_line.parameter_types import runs_option

if TYPE_CHECKING:
    from pebench.submission.status import State


@click.command("retry", cls=ClusterCommand)
@click.argument("sweep", metavar="SWEEP-or-RUN", shell_complete=runs_and_sweeps)
@click.option("--failed", is_flag=True, help="The failed cells; this is the default.")
@click.option("--lost", is_flag=True, help="The lost cells.")
@click.option("--cancelled", is_flag=True, help="The cancelled cells.")
@click.option("--from-scratch", is_flag=True, help="Forget their checkpoints and begin anew.")
@click.option("--dry-run", is_flag=True, help="Name the cells that would be started, and start none.")
@runs_option
def command(
    sweep: str,
    failed: bool,
    lost: bool,
    cancelled: bool,
    from_scratch: bool,
    dry_run: bool,
    cluster: Any,
    profile: str | None,
    runs: Path,
    **options: Any,
) -> int:
    """Start the failed cells of SWEEP again, and no others, or one cell by the id of its RUN.

    They go where they went before, with what they were given before, unless options say otherwise. 'pebench
    submit' starts them too, beside all else that is missing.

    \b
    Examples:
      pebench retry quickstart --dry-run
      pebench retry quickstart --failed --lost --mem 32G
      pebench retry quickstart --failed --from-scratch
      pebench retry rope-3f
    """
    from pebench.commands.submit import start, warn_of_idle_devices
    from pebench.submission.dry_run import lines
    from pebench.submission.submissions import newest_of
    from pebench.submission.submit import preview
    from pebench.sweeping.recorded import as_submitted, named_cell, sweep_of, unchanged_sweep

    cell = named_cell(runs, sweep)
    record = unchanged_sweep(runs, sweep) if cell is None else sweep_of(runs, cell)
    before = newest_of(runs, record.name)
    where = cluster or ("slurm" if profile else before.cluster if before else "inline")
    earlier = before.resources if before is not None and before.cluster == where else None
    resources = requested(None, where, profile, options, earlier)
    choice: dict[State, bool] = {"failed": failed, "lost": lost, "cancelled": cancelled}
    wanted = {state for state, chosen in choice.items() if chosen}
    states = frozenset(wanted or ({"failed"} if cell is None else choice))
    only = None if cell is None else frozenset([cell])
    again = as_submitted(runs, record)
    if dry_run:
        warn_of_idle_devices(again, resources)
        for line in lines(
            again, runs, where, resources, preview(again, runs, where, resources, states, only)
        ):
            click.echo(line)
        return 0
    return start(again, runs, where, resources, states=states, from_scratch=from_scratch, only=only)
