"""`pebench ui`."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.parameter_types import runs_option


@click.command()
@runs_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Of the pages. [default: the first free one from 5000]"
)
@click.option(
    "--every", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds between looks."
)
def command(runs: Path, port: int | None, every: float) -> None:
    """Browse the runs in MLflow, on this machine, kept up to date while they go on.

    The address holds a token, without which the pages let nobody in: others who are logged in here cannot
    read along. MLflow's assistant, which runs commands, is off.

    \b
    Examples:
      pebench ui
      pebench ui --port 8080
    """
    from pebench.tracking.serve import serve

    def announce(address: str, tables: dict[str, str]) -> None:
        click.echo(f"MLflow shows the runs until Ctrl-C, at {address}")
        for sweep, table in tables.items():
            click.echo(f"  {sweep}: {table}")

    def warn(sentence: str) -> None:
        click.echo(f"pebench: {sentence}", err=True)

    try:
        serve(runs, port, every=every, announce=announce, warn=warn)
    except KeyboardInterrupt:
        click.echo("Ended.")
