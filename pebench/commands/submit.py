"""`pebench submit`: start what a sweep still misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pebench.errors import UserError
from pebench.parameters import Gigabytes, Minutes, SbatchParameter, runs_option

_ONLY_SLURM = {
    "partition": "--partition",
    "account": "--account",
    "qos": "--qos",
    "constraint": "--constraint",
    "minutes": "--time",
    "nodes": "--nodes",
    "gpus": "--gpus",
    "memory": "--mem",
    "pack": "--pack",
    "at_once": "--at-once",
    "max_requeues": "--max-requeues",
    "setup": "--setup",
    "slurm": "--slurm",
}


@click.command("submit")
@click.argument("sweep")
@click.option(
    "--cluster",
    type=click.Choice(["inline", "local", "slurm"]),
    help="This process, workers in the background of this machine, or SLURM job arrays.  "
    "[default: inline; slurm with --profile]",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="What to ask SLURM for, from a file: its path, or its name beside the sweep or in the folder "
    "~/.config/pebench/clusters.",
)
@click.option("--partition", metavar="NAME", help="SLURM's partition.")
@click.option("--account", metavar="NAME", help="SLURM's account.")
@click.option("--qos", metavar="NAME", help="SLURM's quality of service.")
@click.option("--constraint", metavar="FEATURES", help="Features that a node must have.")
@click.option(
    "--time",
    "minutes",
    type=Minutes(),
    metavar="TIME",
    help="Time limit of a job: minutes, hours:minutes:seconds or days-hours. A run that reaches it goes on in"
    " another job.  [default: 4 hours]",
)
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that share each batch of a cell.  [default: what the sweep says, or 1]",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Machines that the ranks of a job are spread over.  [default: 1]",
)
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs of a job on each of its nodes.  [default: 0]")
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs of each rank; on this machine its threads.")
@click.option(
    "--mem", "memory", type=Gigabytes(), metavar="SIZE", help="Memory of a job on each of its nodes, as 16G."
)
@click.option(
    "--max-parallel",
    "parallel",
    type=click.IntRange(min=1),
    help="Jobs at a time; for 'local', workers (default 1).",
)
@click.option(
    "--pack", type=click.IntRange(min=1), metavar="N", help="Cells that share one job.  [default: 1]"
)
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cells of a job that run side by side; 1 is one after another.  [default: all]",
)
@click.option(
    "--max-requeues",
    type=click.IntRange(min=0),
    metavar="N",
    help="How often a job that was interrupted is queued again; after that its cells have failed.  "
    "[default: 100]",
)
@click.option(
    "--setup",
    multiple=True,
    metavar="LINE",
    help="A line of shell that a job begins with, as 'module load cuda'. Can be given several times.",
)
@click.option(
    "--slurm",
    "parameters",
    type=SbatchParameter(),
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other parameter of sbatch, as reservation=spring. Can be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be started, and start and write nothing.")
@runs_option
def command(
    sweep: str,
    cluster: Any,
    profile: str | None,
    runs: Path,
    parameters: tuple[tuple[str, Any], ...],
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
    given = options | {"slurm": _mapping(parameters)}
    _refuse_misplaced(cluster, given | {"profile": profile})
    from pebench.options import validated
    from pebench.submission.profile import merged, read_profile
    from pebench.submission.resources import Resources
    from pebench.submission.submit import execution_of, foresee, submit
    from pebench.sweeping.sweep import find, load_sweep

    written = read_profile(profile, find(sweep)) if profile else None
    resources = validated(Resources, merged(written, given), "a job")
    loaded = load_sweep(sweep, runs)
    if dry_run:
        from pebench.submission.outlook import lines

        for line in lines(loaded, runs, cluster, resources, foresee(loaded, runs, cluster, resources)):
            click.echo(line)
        return 0
    submitted = submit(loaded, runs, cluster, resources)
    known = f"{len(submitted.finished)} finished before, {len(submitted.busy)} under way"
    click.echo(f"{loaded.name}: {len(submitted.started)} of {len(loaded.cells)} cells to start, {known}.")
    if cluster == "inline":
        return _inline(loaded, runs, submitted, execution_of(loaded, resources))
    jobs = ", ".join(submission.job for submission in submitted.submissions if submission.job)
    if jobs:
        click.echo(f"SLURM jobs: {jobs}")
    click.echo(f"pebench status {loaded.name} tells how they go.")
    return 0


def _mapping(parameters: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parameters:
        if key in found:
            raise UserError(f"the parameter '{key}' of sbatch stands twice.")
        found[key] = value
    return found


def _refuse_misplaced(cluster: str, given: dict[str, Any]) -> None:
    if cluster != "slurm":
        for key, flag in {"profile": "--profile", **_ONLY_SLURM}.items():
            if given[key] not in (None, (), {}):
                raise UserError(f"{flag} is for '--cluster slurm', not for '--cluster {cluster}'.")
    if cluster == "inline":
        for key, flag in {"cpus": "--cpus", "parallel": "--max-parallel"}.items():
            if given[key]:
                raise UserError(
                    f"{flag} is for '--cluster local' and '--cluster slurm': inline runs go one by one here."
                )
    if given["at_once"] and not given["pack"] and not given["profile"]:
        raise UserError(
            "--at-once says how many cells of a pack run side by side: --pack says how many it has."
        )


def _inline(sweep: Any, runs: Path, submitted: Any, execution: Any) -> int:
    from pebench.submission.inline import carry_out
    from pebench.submission.progress import display

    if not submitted.started:
        return 0
    outcome = carry_out(runs, submitted.submissions[0], execution, display())
    for run_id, message in outcome.failed.items():
        click.echo(
            f"pebench: {run_id} failed: {message.rstrip('.')}; see {runs / run_id / 'log.txt'}.", err=True
        )
    if outcome.interrupted:
        click.echo(f"Stopped; pebench submit {sweep.name} goes on from here.", err=True)
        raise click.Abort
    return 1 if outcome.failed else 0
