"""`pebench leaderboard`."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from pebench.click_types import runs_option
from pebench.completion import sweeps as sweeps_of_user
from pebench.errors import UserError


@click.command()
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...", shell_complete=sweeps_of_user)
@runs_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder of results.",
)
@click.option("--baseline", metavar="ENCODING", help="What to compare with. [default: the sweep's]")
@click.option("--published", is_flag=True, help="Put published figures beside those that match them.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CSV file of published figures to use in place of those that come with pebench.",
)
@click.option("--latex", is_flag=True, help="Write leaderboard.tex too, for papers.")
@click.option(
    "--from-mlflow", "uri", metavar="URI", help="Read a tracking store in place of the run folders."
)
def command(
    sweeps: tuple[str, ...],
    runs: Path,
    output: Path,
    baseline: str | None,
    published: bool,
    figures: Path | None,
    latex: bool,
    uri: str | None,
) -> None:
    """Regenerate the tables, plots and report of sweeps from their runs.

    SWEEP is the name of a submitted sweep, or its file; without one, all are written. A mean stands only
    where every seed has finished. The claims of claims.yaml, in the sweep's folder of results or beside its
    file, are answered.

    \b
    Examples:
      pebench leaderboard
      pebench leaderboard sweeps/quickstart.yaml --baseline alibi --latex
      pebench leaderboard quickstart --from-mlflow http://tracking.example.org:5000
    """
    if figures is not None and not published:
        raise UserError("--figures names a file for --published: give both.")
    source = click.get_current_context().get_parameter_source("runs")
    if uri is not None and source is not ParameterSource.DEFAULT:
        raise UserError("--from-mlflow and --runs are two places to read from: give one.")
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.claims import claims_of
    from pebench.leaderboard.published import BUILT_IN, read_figures
    from pebench.leaderboard.sources import from_runs, from_store
    from pebench.leaderboard.terminal import print_board
    from pebench.leaderboard.write import write_leaderboard
    from pebench.sweeping.yaml_file import is_named

    others = read_figures(figures or BUILT_IN) if published else None
    found = from_store(uri, sweeps) if uri is not None else from_runs(runs, sweeps)
    beside = [Path("sweeps"), *(Path(sweep).parent for sweep in sweeps if is_named(sweep))]
    for collection in found:
        name = collection.sweep.name
        claims = claims_of(name, [output / name, *beside])
        board = make_board(collection, baseline, others, claims)
        try:
            folder = write_leaderboard(board, output, with_latex=latex)
        except OSError as error:
            raise UserError(f"cannot read or write {error.filename}: {error.strerror}.") from error
        print_board(board)
        for warning in collection.warnings:
            click.echo(f"pebench: {warning}", err=True)
        click.echo(f"Written: {folder}, with report.html to open in a browser")
