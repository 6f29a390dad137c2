"""`pebench submit`: start what a sweep still misses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pebench.command_line.cluster_options import ClusterCommand, requested
from pebench.command_line.completion import encodings as encodings_of_user
from pebench.command_line.completion import settings_of_sweep
from pebench.command_line.completion import sweeps as sweeps_of_user
from pebench.command_line.parameter_types import runs_option, settings_option


@click.command("submit", cls=ClusterCommand)
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...", shell_complete=sweeps_of_user)
@click.option("--dry-run", is_flag=True, help="Print what would be started, and start and write nothing.")
@settings_option(
    shell_complete=settings_of_sweep,
    help="A key of the file by its path, in place of what stands there: seeds=1, train.steps=100. Can be "
    "given several times.",
)
@click.option(
    "--encoding",
    "encodings",
    multiple=True,
    metavar="ENCODING",
    shell_complete=encodings_of_user,
    help="Start cells of this encoding alone; can be given again.",
)
@click.option(
    "--seed",
    "seeds",
    type=int,
    multiple=True,
    help="Start cells of this seed alone; can be given again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a sweep, a line each.")
@runs_option
def command(
    sweeps: tuple[str, ...],
    cluster: Any,
    profile: str | None,
    runs: Path,
    dry_run: bool,
    settings: tuple[tuple[str, Any], ...],
    encodings: tuple[str, ...],
    seeds: tuple[int, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Start every cell of each SWEEP that is neither finished, running nor queued.

    SWEEP is a YAML file, the name of one in 'sweeps/', or the name of a sweep that was submitted or imported.
    Submitting again is safe: finished cells stay as they are, failed and lost ones are started again and go
    on from their last checkpoint.

    With --encoding or --seed a piece of it is started, with the trials and the cells that this waits for.
    The whole sweep is on record, so that later pieces add to the same tables.

    \b
    Examples:
      pebench submit sweeps/quickstart.yaml
      pebench submit quickstart --cluster local --max-parallel 2
      pebench submit quickstart --cluster slurm --partition gpu --gpus 1 --time 2:00:00
      pebench submit quickstart --cluster slurm --gpus 1 --pack 4 --slurm reservation=spring --dry-run
      pebench submit quickstart --cluster slurm --gpus 4 --nodes 2 --ranks 8
      pebench submit quickstart --profile lab
      pebench submit novels-trained --encoding rope --encoding alibi --seed 0
      pebench submit quickstart --set name=short --set train.steps=100 --set seeds=1
    """
    from pebench.sweeping.names import find, is_there
    from pebench.sweeping.piece import piece
    from pebench.sweeping.recorded import startable_sweep

    cluster = cluster or ("slurm" if profile else "inline")
    loaded = [startable_sweep(runs, sweep, settings) for sweep in sweeps]
    pieces = [piece(sweep, encodings, seeds) for sweep in loaded]
    beside = find(sweeps[0]) if profile and is_there(sweeps[0]) else None
    resources = requested(beside, cluster, profile, options)
    if not dry_run:
        each = zip(loaded, pieces, strict=True)
        return max(start(sweep, runs, cluster, resources, as_json=as_json, only=own) for sweep, own in each)
    from pebench.submission.dry_run import as_object, lines
    from pebench.submission.submit import preview

    for sweep, own in zip(loaded, pieces, strict=True):
        warn_of_idle_devices(sweep, resources)
        found = preview(sweep, runs, cluster, resources, only=own)
        said = [json.dumps(as_object(sweep.name, found.submitted))]
        for line in said if as_json else lines(sweep, runs, cluster, resources, found):
            click.echo(line)
    return 0


def warn_of_idle_devices(sweep: Any, resources: Any) -> None:
    """Says where GPUs are asked for that nobody would use."""
    from pebench.submission.requirements import idle_devices

    if idle := idle_devices(sweep, resources):
        click.echo(f"pebench: {idle}", err=True)


def start(
    sweep: Any, runs: Path, cluster: Any, resources: Any, *, as_json: bool = False, **choice: Any
) -> int:
    """Submits a sweep, says what was started, and carries it out where that is to be done here.

    Args:
        sweep, runs, cluster, resources, choice: see `pebench.submission.submit.submit`.
        as_json: whether to say it in JSON.

    Returns:
        The exit status.
    """
    from pebench.submission.dry_run import as_object, left_cells
    from pebench.submission.requirements import execution_of
    from pebench.submission.submit import submit

    warn_of_idle_devices(sweep, resources)
    submitted = submit(sweep, runs, cluster, resources, **choice)
    if as_json:
        click.echo(json.dumps(as_object(sweep.name, submitted)))
        return _inline(sweep, runs, submitted, execution_of(sweep, resources)) if cluster == "inline" else 0
    known = f"{len(submitted.finished)} finished before, {len(submitted.busy)} under way"
    click.echo(f"{sweep.name}: {len(submitted.started)} of {submitted.total} cells to start, {known}.")
    for line in left_cells(sweep.name, submitted):
        click.echo(line)
    whole = f"pebench leaderboard {sweep.name} writes what they found."
    if cluster == "inline":
        status = _inline(sweep, runs, submitted, execution_of(sweep, resources))
        if status == 0 and not submitted.busy and not submitted.left:
            click.echo(whole)
        return status
    jobs = ", ".join(submission.job for submission in submitted.submissions if submission.job)
    if jobs:
        click.echo(f"SLURM jobs: {jobs}")
    if submitted.started or submitted.busy:
        click.echo(f"pebench status {sweep.name} tells how they go.")
    elif not submitted.left:
        click.echo(whole)
    return 0


def _inline(sweep: Any, runs: Path, submitted: Any, execution: Any) -> int:
    from pebench.submission.cells import carry_out, without_device
    from pebench.submission.progress import display

    if not submitted.started:
        return 0
    shown = display(quiet=click.get_current_context().obj["quiet"])
    outcome = carry_out(runs, submitted.submissions[0], execution, shown)
    for run_id, message in outcome.failed.items():
        click.echo(
            f"pebench: {run_id} failed: {message.rstrip('.')}; see {runs / run_id / 'log.txt'}.", err=True
        )
    for sentence in outcome.unchosen:
        click.echo(f"pebench: {sentence}", err=True)
    trials = set(sweep.record().trials)
    reported = [result.status for run_id, result in outcome.finished.items() if run_id not in trials]
    if "diverged" in reported:
        click.echo(
            f"pebench: {reported.count('diverged')} of {len(reported)} cells diverged and have no scores; "
            f"pebench status {sweep.name} names them.",
            err=True,
        )
    if outcome.interrupted:
        click.echo(f"Stopped; pebench submit {sweep.name} goes on from here.", err=True)
        raise click.Abort
    if outcome.lost_device is not None:
        click.echo(f"pebench: {without_device(outcome.lost_device)}", err=True)
        # The next sweep of the command line would fail in this process as well.
        raise click.exceptions.Exit(1)
    return 1 if outcome.failed or outcome.unchosen else 0
