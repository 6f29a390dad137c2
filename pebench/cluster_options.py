"""Where cells run and what each job gets, as `submit` and `retry` let a user write it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pebench.errors import UserError
from pebench.parameters import Gigabytes, Minutes, SbatchParameter

if TYPE_CHECKING:
    from pebench.submission.resources import Resources

Command = TypeVar("Command", bound=Callable[..., Any])

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

_OPTIONS = (
    click.option(
        "--cluster",
        type=click.Choice(["inline", "local", "slurm"]),
        help="This process, workers in the background of this machine, or SLURM job arrays.  "
        "[default: inline, or slurm with --profile; 'retry' takes what was taken before]",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        help="What to ask SLURM for, from a file: its path, or its name beside the sweep or in the folder "
        "~/.config/pebench/clusters.",
    ),
    click.option("--partition", metavar="NAME", help="SLURM's partition."),
    click.option("--account", metavar="NAME", help="SLURM's account."),
    click.option("--qos", metavar="NAME", help="SLURM's quality of service."),
    click.option("--constraint", metavar="FEATURES", help="Features that a node must have."),
    click.option(
        "--time",
        "minutes",
        type=Minutes(),
        metavar="TIME",
        help="Time limit of a job: minutes, hours:minutes:seconds or days-hours. A run that reaches it goes "
        "on in another job.  [default: 4 hours]",
    ),
    click.option(
        "--ranks",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes that share each batch of a cell.  [default: what the sweep says, or 1]",
    ),
    click.option(
        "--nodes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Machines that the ranks of a job are spread over.  [default: 1]",
    ),
    click.option(
        "--gpus", type=click.IntRange(min=0), help="GPUs of a job on each of its nodes.  [default: 0]"
    ),
    click.option(
        "--cpus", type=click.IntRange(min=1), help="CPUs of each rank; on this machine its threads."
    ),
    click.option(
        "--mem",
        "memory",
        type=Gigabytes(),
        metavar="SIZE",
        help="Memory of a job on each of its nodes, as 16G.",
    ),
    click.option(
        "--max-parallel",
        "parallel",
        type=click.IntRange(min=1),
        help="Jobs at a time; for 'local', workers (default 1).",
    ),
    click.option(
        "--pack", type=click.IntRange(min=1), metavar="N", help="Cells that share one job.  [default: 1]"
    ),
    click.option(
        "--at-once",
        type=click.IntRange(min=1),
        metavar="N",
        help="Cells of a job that run side by side; 1 is one after another.  [default: all]",
    ),
    click.option(
        "--max-requeues",
        type=click.IntRange(min=0),
        metavar="N",
        help="How often a job that was interrupted is queued again; after that its cells have failed.  "
        "[default: 100]",
    ),
    click.option(
        "--setup",
        multiple=True,
        metavar="LINE",
        help="A line of shell that a job begins with, as 'module load cuda'. Can be given several times.",
    ),
    click.option(
        "--slurm",
        "parameters",
        type=SbatchParameter(),
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other parameter of sbatch, as reservation=spring. Can be given several times.",
    ),
)


def cluster_options(command: Command) -> Command:
    """Adds ``--cluster``, ``--profile`` and an option for each of `Resources` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def requested(
    beside: Path | None,
    cluster: str,
    profile: str | None,
    options: dict[str, Any],
    before: Resources | None = None,
) -> Resources:
    """What each job is to get.

    Args:
        beside: the file of the sweep, beside which a profile may be; None where there is none.
        cluster: where cells run. profile: its name or file.
        options: what the options of `cluster_options` were given.
        before: what holds where neither the profile nor the options say anything.

    Raises:
        UserError: something is for another cluster, or is wrong.
    """
    given = {name: value for name, value in options.items() if name != "parameters"}
    given["slurm"] = _mapping(options["parameters"])
    _refuse_misplaced(cluster, given | {"profile": profile})
    from pebench.options import validated
    from pebench.submission import resources
    from pebench.submission.profile import merged, read_profile

    written = read_profile(profile, beside) if profile else None
    earlier = before.model_dump() if before is not None else {}
    return validated(resources.Resources, {**earlier, **merged(written, given)}, "a job")


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
