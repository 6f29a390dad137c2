"""`pebench gallery`: a picture of every encoding."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("gallery")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/gallery"),
    show_default=True,
    help="Folder of the pictures; the page stands beside it.",
)
def command(output: Path) -> None:
    """Draw what every encoding does to a logit with distance, inside and beyond the trained extent.

    \b
    Example:
      pebench gallery --output docs/gallery
    """
    from pebench.portrait import gallery

    click.echo(gallery(output))
