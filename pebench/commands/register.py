"""`pebench register`."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.completion import runs as runs_of_user
from pebench.command_line.parameter_types import runs_option


@click.command()
@click.argument("run", shell_complete=runs_of_user)
@click.argument("name", required=False)
@runs_option
@click.option("--to", "uri", metavar="URI", help="The store, as of `pebench sync`.")
def command(run: str, name: str | None, runs: Path, uri: str | None) -> None:
    """Register a finished run's model in MLflow, as the newest version of the model NAME.

    RUN is its id, or enough of the beginning; NAME is the task's and the encoding's name unless given. What
    is registered is enough of the run's folder for pebench.load: 'mlflow artifacts download --artifact-uri
    models:/NAME/1 --dst-path models' brings it back, and pebench.load(RUN, runs="models") reads it.

    \b
    Examples:
      pebench register rope-3f
      pebench register rope-3f small-text
    """
    from pebench.store.run_folder import find_run
    from pebench.tracking.model_registry import register

    done = register(runs, find_run(runs, run), name, uri)
    click.echo(
        f"{done.name} version {done.version}{'' if done.new else ', as before'}: models:/{done[0]}/{done[1]}"
    )
