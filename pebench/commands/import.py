"""`pebench import`."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.parameter_types import runs_option
from pebench.errors import UserError, errors_of_files


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@runs_option
@click.option("--name", help="What to call its sweep here. [default: as it was called there]")
@click.option(
    "--dry-run", is_flag=True, help="Check the archive, print what would be added, and add nothing."
)
@click.option("--keep-own", is_flag=True, help="Leave runs of other content as they are, and add the rest.")
@click.option(
    "--most",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    metavar="GIGABYTES",
    help="Refuse an archive that unpacks to more.",
)
def command(file: Path, runs: Path, name: str | None, dry_run: bool, keep_own: bool, most: float) -> None:
    """Check an archive of runs, and add them.

    Every specification must have the hash that its run is named by, every file the digest that the archive
    says, and nothing that is here is overwritten.

    \b
    Examples:
      pebench import quickstart.tar.zst
      pebench import quickstart.tar.zst --dry-run
      pebench import theirs.tar.zst --name their-quickstart
    """
    from pebench.exchange import preview, receive
    from pebench.sweeping.names import refuse_name

    if name is not None:
        refuse_name(name)
    if not file.is_file():
        raise UserError(f"there is no archive '{file}'.")
    add = preview if dry_run else receive
    with errors_of_files(runs, "cannot read or write"):
        received = add(file, runs, name=name, keep_own=keep_own, most=int(most * 1e9))
    added = len(received.added) + len(received.completed)
    if dry_run:
        for run_id in (*received.added, *received.completed):
            click.echo(f"run {run_id}")
        for sweep in received.sweeps:
            click.echo(f"sweep {sweep}")
        click.echo(f"{runs}: {added} runs would be added, {len(received.known)} are here already")
        if received.weighted:
            click.echo(f"{len(received.weighted)} of these would get the weights that they lack here")
        if received.kept:
            click.echo(
                f"{len(received.kept)} have other content here and would be left as they are", err=True
            )
        return
    click.echo(f"{runs}: {added} runs added, {len(received.known)} were here already")
    if received.weighted:
        click.echo(f"{len(received.weighted)} of these got the weights that they lacked here")
    if received.kept:
        click.echo(f"{len(received.kept)} have other content here and were left as they are", err=True)
    for sweep in received.sweeps:
        click.echo(f"pebench leaderboard {sweep}")
