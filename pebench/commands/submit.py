"""`pebench submit`: start what a sweep still misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pebench.cluster_options import ClusterCommand, requested
from pebench.parameters import runs_option


@click.command("submit", cls=ClusterCommand)
@click.argument("sweep")
@click.option("--dry-run", is_flag=True, help="Print what would be started, and start and write nothing.")
@runs_option
def command(
    sweep: str,
    cluster: Any,
    profile: str | None,
    runs: Path,
    dry_run: bool,
    **options: Any,
) -> int:
    """Start every cell of SWEEP that is neither finished, running nor queued.

    SWEEP is a YAML file, or the name of one in 'sweeps/'. Submitting again is safe: finished cells stay
    as they are, failed and lost ones are started again and go on from their last checkpoint.

    \b
    Examples:
      pebench submit sweeps/quickstart.yaml
      pebench submit quickstart --cluster local --max-parallel 2
      pebench submit quickstart --cluster slurm --partition gpu --gpus 1 --time 2:00:00
      pebench submit quickstart --cluster slurm --gpus 1 --pack 4 --slurm reservation=spring --dry-run
      pebench submit quickstart --cluster slurm --gpus 4 --nodes 2 --ranks 8
      pebench submit quickstart --profile lab
    """
    cluster = cluster or ("slurm" if profile else "inline")
    from pebench.sweeping.sweep import find, load_sweep

    resources = requested(find(sweep) if profile else None, cluster, profile, options)
    loaded = load_sweep(sweep, runs)
    if dry_run:
        from pebench.submission.dry_run import lines
        from pebench.submission.submit import preview

        for line in lines(loaded, runs, cluster, resources, preview(loaded, runs, cluster, resources)):
            click.echo(line)
        return 0
    return start(loaded, runs, cluster, resources)


def start(sweep: Any, runs: Path, cluster: Any, resources: Any, **choice: Any) -> int:
    """Submits a sweep, says what was started, and carries it out where that is to be done here.

    Args:
        sweep, runs, cluster, resources, choice: see `pebench.submission.submit.submit`.

    Returns:
        The exit status.
    """
    from pebench.submission.submit import execution_of, submit

    submitted = submit(sweep, runs, cluster, resources, **choice)
    known = f"{len(submitted.finished)} finished before, {len(submitted.busy)} under way"
    total = len(sweep.record().runs)
    click.echo(f"{sweep.name}: {len(submitted.started)} of {total} cells to start, {known}.")
    if cluster == "inline":
        return _inline(sweep, runs, submitted, execution_of(sweep, resources))
    jobs = ", ".join(submission.job for submission in submitted.submissions if submission.job)
    if jobs:
        click.echo(f"SLURM jobs: {jobs}")
    click.echo(f"pebench status {sweep.name} tells how they go.")
    return 0


def _inline(sweep: Any, runs: Path, submitted: Any, execution: Any) -> int:
    from pebench.submission.cells import carry_out
    from pebench.submission.progress import display

    if not submitted.started:
        return 0
    outcome = carry_out(runs, submitted.submissions[0], execution, display())
    for run_id, message in outcome.failed.items():
        click.echo(
            f"pebench: {run_id} failed: {message.rstrip('.')}; see {runs / run_id / 'log.txt'}.", err=True
        )
    for sentence in outcome.unchosen:
        click.echo(f"pebench: {sentence}", err=True)
    if outcome.interrupted:
        click.echo(f"Stopped; pebench submit {sweep.name} goes on from here.", err=True)
        raise click.Abort
    return 1 if outcome.failed or outcome.unchosen else 0
