"""`pebench logs`: what runs and jobs have to say."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from pebench.command_line.completion import runs_and_sweeps
from pebench.command_line.parameter_types import runs_option


@click.command("logs")
@click.argument("name", metavar="RUN-or-SWEEP", shell_complete=runs_and_sweeps)
@click.option("-f", "--follow", "followed", is_flag=True, help="Go on as the logs grow, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    help="Lines of each log.  [default: 40; 3 of a sweep]",
)
@click.option("--job", "of_job", is_flag=True, help="What the jobs printed, in place of the runs' own logs.")
@runs_option
def command(name: str, followed: bool, count: int | None, of_job: bool, runs: Path) -> None:
    """Print the end of the log of a run, or of every run of a sweep.

    A run is named by its id or the beginning of it, a sweep by its name or its file. A run that never wrote a
    line may have a job that did: --job prints that.

    \b
    Examples:
      pebench logs rope-3f
      pebench logs quickstart --follow
      pebench logs rope-3f --job
    """
    from pebench.submission.logs import follow, logs_of, tail
    from pebench.sweeping.recorded import named_cell, recorded_sweep

    cell = named_cell(runs, name)
    of_sweep = cell is None
    run_ids = list(recorded_sweep(runs, name).runs) if cell is None else [cell]
    files = logs_of(runs, run_ids, of_job)
    if not followed and not any(path.exists() for path in files):
        other = "" if of_job else f"; 'pebench logs {name} --job' prints what its job said"
        click.echo(f"pebench: {name} has no log yet{other}.", err=True)
        return
    wanted = count if count is not None else 3 if of_sweep else 40
    with contextlib.suppress(KeyboardInterrupt):
        for line in (follow if followed else tail)(files, wanted):
            click.echo(f"{line.run} | {line.text}" if of_sweep else line.text)
