"""`pebench submit`: start what a sweep still misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pebench.parameters import Gigabytes, Minutes, runs_option


@click.command("submit")
@click.argument("sweep")
@click.option(
    "--cluster",
    type=click.Choice(["inline", "local", "slurm"]),
    default="inline",
    show_default=True,
    help="This process, workers in the background of this machine, or a SLURM job array.",
)
@click.option("--partition", metavar="NAME", help="SLURM's partition.")
@click.option(
    "--time",
    "minutes",
    type=Minutes(),
    default=240,
    metavar="TIME",
    help="Time limit of a job: minutes, hours:minutes:seconds or days-hours. A run that reaches it goes on in"
    " another job.  [default: 4 hours]",
)
@click.option("--gpus", type=click.IntRange(min=0), default=0, show_default=True, help="GPUs of a SLURM job.")
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs of a job; the threads of a local worker.")
@click.option("--mem", "memory", type=Gigabytes(), metavar="SIZE", help="Memory of a SLURM job, as 16G.")
@click.option(
    "--max-parallel",
    "parallel",
    type=click.IntRange(min=1),
    help="Jobs at a time; for 'local', workers (default 1).",
)
@runs_option
def command(sweep: str, cluster: Any, runs: Path, **resources: Any) -> int:
    """Start every cell of SWEEP that is neither finished, running nor queued.

    SWEEP is a YAML file, or the name of one in 'sweeps/'. Submitting again is safe: finished cells stay
    as they are, failed and lost ones are started again and go on from their last checkpoint.

    \b
    Examples:
      pebench submit sweeps/quickstart.yaml
      pebench submit quickstart --cluster local --max-parallel 2
      pebench submit quickstart --cluster slurm --partition gpu --gpus 1 --time 2:00:00
    """
    _refuse_misplaced(cluster, resources)
    from pebench.submission.submit import Resources, submit
    from pebench.sweeping.sweep import load_sweep

    loaded = load_sweep(sweep, runs)
    submitted = submit(loaded, runs, cluster, Resources(**resources))
    known = f"{len(submitted.finished)} finished before, {len(submitted.busy)} under way"
    click.echo(f"{loaded.name}: {len(submitted.started)} of {len(loaded.cells)} cells to start, {known}.")
    if cluster == "inline":
        return _inline(loaded, runs, submitted)
    jobs = ", ".join(submission.job for submission in submitted.submissions if submission.job)
    if jobs:
        click.echo(f"SLURM jobs: {jobs}")
    click.echo(f"pebench status {loaded.name} tells how they go.")
    return 0


def _refuse_misplaced(cluster: str, resources: dict[str, Any]) -> None:
    from pebench.errors import UserError

    only_slurm = {"partition": "--partition", "gpus": "--gpus", "memory": "--mem"}
    if cluster != "slurm":
        for key, flag in only_slurm.items():
            if resources[key]:
                raise UserError(f"{flag} is for '--cluster slurm', not for '--cluster {cluster}'.")
    if cluster == "inline":
        for key, flag in {"cpus": "--cpus", "parallel": "--max-parallel"}.items():
            if resources[key]:
                raise UserError(
                    f"{flag} is for '--cluster local' and '--cluster slurm': inline runs go one by one here."
                )


def _inline(sweep: Any, runs: Path, submitted: Any) -> int:
    from pebench.submission.inline import carry_out
    from pebench.submission.progress import display

    if not submitted.started:
        return 0
    outcome = carry_out(runs, submitted.submissions[0], sweep.execution, display())
    for run_id, message in outcome.failed.items():
        click.echo(
            f"pebench: {run_id} failed: {message.rstrip('.')}; see {runs / run_id / 'log.txt'}.", err=True
        )
    if outcome.interrupted:
        click.echo(f"Stopped; pebench submit {sweep.name} goes on from here.", err=True)
        raise click.Abort
    return 1 if outcome.failed else 0
