"""`pebench export`: the runs of sweeps as an archive, or the model of one run as a folder of transformers."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.completion import runs_and_sweeps
from pebench.command_line.parameter_types import runs_option
from pebench.errors import UserError, errors_of_files, first_of


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SWEEP...|RUN", shell_complete=runs_and_sweeps)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The archive to write: FILE.tar.zst, FILE.tar.xz or FILE.tar.gz.",
)
@runs_option
@click.option("--weights", is_flag=True, help="Add the weights of the finished models.")
@click.option(
    "--hf",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the model of RUN as a folder that transformers loads, in place of an archive.",
)
def command(
    names: tuple[str, ...], output: Path | None, runs: Path, weights: bool, folder: Path | None
) -> None:
    """Write the runs of sweeps as one archive for others to import, or one language model for transformers.

    SWEEP is the name of a submitted sweep, or its file. The archive holds what was asked for, what came out,
    and where it comes from, so every number stays traceable. RUN is a finished run, by its id or enough of
    its beginning; where transformers has no architecture that computes the same, nothing is written.

    \b
    Examples:
      pebench export quickstart -o quickstart.tar.zst
      pebench export rope-3f2a --hf my-model
    """
    if (folder is None) == (output is None):
        raise UserError(
            "--output names the archive to write, and --hf the folder of a model: give one of them."
        )
    if folder is not None:
        _write_model(names, folder, runs, weights)
    elif output is not None:
        _write_archive(names, output, runs, weights)


def _write_model(names: tuple[str, ...], folder: Path, runs: Path, weights: bool) -> None:
    from pebench.exchange.transformers_folder import write_transformers_folder
    from pebench.store.run_folder import find_run

    if len(names) != 1 or weights:
        raise UserError("--hf writes the model of one run, with its weights and nothing else.")
    with errors_of_files(folder, "cannot read or write"):
        architecture = write_transformers_folder(find_run(runs, names[0]), folder)
    click.echo(f"{folder}: {architecture}, which transformers loads with AutoModelForCausalLM")


def _write_archive(sweeps: tuple[str, ...], output: Path, runs: Path, weights: bool) -> None:
    from pebench.exchange import export
    from pebench.sweeping.recorded import recorded_sweeps

    found = recorded_sweeps(runs, sweeps)
    with errors_of_files(output, "cannot read or write"):
        exported = export(runs, found, output, weights)
    size = output.stat().st_size / 1e6
    gone = ""
    if exported.vanished:
        gone = f"; by specification alone, as files vanished meanwhile: {first_of(exported.vanished, 3)}"
    click.echo(f"{output}: {exported.runs} runs, {exported.finished} of them finished, {size:.1f} MB{gone}")
    if exported.waiting:
        one = exported.waiting == 1
        click.echo(
            f"pebench: {exported.waiting} that {'is' if one else 'are'} not finished "
            f"{'begins' if one else 'begin'} with weights, which are left out: --weights adds them.",
            err=True,
        )
