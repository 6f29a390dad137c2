"""`pebench export`."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.click_types import runs_option
from pebench.errors import UserError


@click.command()
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The archive to write: FILE.tar.zst, FILE.tar.xz or FILE.tar.gz.",
)
@runs_option
@click.option("--weights", is_flag=True, help="Add the weights of the finished models.")
def command(sweeps: tuple[str, ...], output: Path, runs: Path, weights: bool) -> None:
    """Write the runs of sweeps as one archive for others to import.

    SWEEP is the name of a submitted sweep, or its file. The archive holds what was asked for, what came out,
    and where it comes from, so every number stays traceable.

    \b
    Examples:
      pebench export quickstart -o quickstart.tar.zst
    """
    from pebench.exchange import export
    from pebench.sweeping.recorded import recorded_sweeps

    found = recorded_sweeps(runs, sweeps)
    try:
        exported = export(runs, found, output, weights)
    except OSError as error:
        raise UserError(f"cannot read or write {error.filename or output}: {error.strerror}.") from error
    size = output.stat().st_size / 1e6
    click.echo(f"{output}: {exported.runs} runs, {exported.finished} of them finished, {size:.1f} MB")
