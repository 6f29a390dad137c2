"""`pebench gallery`: a picture of every encoding, or of the encodings of trained models."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.parameter_types import runs_option


@click.command("gallery")
@click.option(
    "--run",
    "wanted",
    multiple=True,
    metavar="ID",
    help="Draw the encoding of this finished run, layer by layer, untrained and trained; may be repeated.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the pictures; the page stands beside it. [default: docs/gallery, or gallery with --run]",
)
@runs_option
def command(wanted: tuple[str, ...], output: Path | None, runs: Path) -> None:
    """Draw what every encoding does to a logit with distance, inside and beyond the trained extent.

    With --run it is what training has made of the encoding of a run: query and key have random content, so
    that it shows the weights of the encoding alone, and not those of the model around it.

    \b
    Examples:
      pebench gallery --output docs/gallery
      pebench gallery --run fire-3f --run cope-91
    """
    if not wanted:
        from pebench.portrait import gallery

        click.echo(gallery(output or Path("docs/gallery")))
        return
    from pebench.portrait.trained import trained_picture
    from pebench.store.run_folder import find_run

    for folder in [find_run(runs, run) for run in wanted]:
        path, changed = trained_picture(folder, output or Path("gallery"))
        click.echo(path if changed else f"{path} (training changed nothing of what it shows)")
