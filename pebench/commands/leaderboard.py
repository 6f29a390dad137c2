"""`pebench leaderboard`."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.errors import UserError


@click.command()
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@click.option(
    "--runs", type=click.Path(path_type=Path), help="The folder of runs. [default: PEBENCH_RUNS, or runs]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder of results.",
)
def command(sweeps: tuple[str, ...], runs: Path | None, output: Path) -> None:
    """Regenerate the tables and plots of sweeps from their runs.

    SWEEP is the name of a submitted sweep, or its file; without one, all are written. A mean stands only
    where every seed has finished.

    \b
    Examples:
      pebench leaderboard
      pebench leaderboard sweeps/quickstart.yaml --output results
    """
    from pebench.leaderboard.sweeps import find_sweeps
    from pebench.leaderboard.terminal import print_tables
    from pebench.leaderboard.write import write_leaderboard
    from pebench.store import runs_folder

    folder = runs or runs_folder()
    for record in find_sweeps(folder, sweeps):
        try:
            collection, summary = write_leaderboard(folder, record, output)
        except OSError as error:
            raise UserError(f"cannot read or write {error.filename}: {error.strerror}.") from error
        print_tables(collection, summary)
        for warning in collection.warnings:
            click.echo(f"pebench: {warning}", err=True)
        click.echo(f"Written: {output / record.name}")
