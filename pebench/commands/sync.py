"""`pebench sync`."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import click

from pebench.command_line.parameter_types import runs_option
from pebench.errors import UserError


@click.command()
@runs_option
@click.option(
    "--to",
    "uri",
    metavar="URI",
    help="The store. [default: PEBENCH_TRACKING_URI, MLFLOW_TRACKING_URI, or mlflow.db beside the runs]",
)
@click.option(
    "--watch", type=click.FloatRange(min=1), metavar="SECONDS", help="Goes on, and looks again this often."
)
def command(runs: Path, uri: str | None, watch: float | None) -> int:
    """Mirror the runs into MLflow, to browse them there.

    It may be interrupted and repeated at any time: every run and every point is there once. What has not
    changed costs nothing.

    \b
    Examples:
      pebench sync
      pebench sync --to http://tracking.example.org:5000 --watch 30
    """
    from pebench.tracking.address import tracking_uri, without_secrets
    from pebench.tracking.sync import Outcome, sync

    # Half a million objects come with MLflow and stay. To look through them for garbage, over and over while
    # they come, takes a sixth of a pass.
    gc.set_threshold(1_000_000)

    def once() -> Outcome:
        outcome = sync(runs, uri)
        for problem in outcome.problems:
            click.echo(f"pebench: {problem}", err=True)
        return outcome

    if watch is None:
        outcome = once()
        click.echo(f"{outcome} in {without_secrets(tracking_uri(runs, uri))}")
        return 1 if outcome.problems else 0
    click.echo(f"{once()}; looking again every {watch:g} s until Ctrl-C")
    try:
        while True:
            time.sleep(watch)
            try:
                if (outcome := once()).mirrored:
                    click.echo(str(outcome))
            except UserError as error:
                click.echo(f"pebench: {error}", err=True)
    except KeyboardInterrupt:
        click.echo("Ended.")
        return 0
