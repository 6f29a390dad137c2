"""`pebench leaderboard`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pebench.command_line.completion import encodings
from pebench.command_line.completion import sweeps as sweeps_of_user
from pebench.command_line.parameter_types import results_option, runs_option
from pebench.errors import UserError, errors_of_files

if TYPE_CHECKING:
    from pebench.leaderboard.board import Board


@click.command()
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...", shell_complete=sweeps_of_user)
@runs_option
@results_option("--output")
@click.option(
    "--baseline",
    metavar="ENCODING",
    shell_complete=encodings,
    help="What to compare with. [default: the sweep's]",
)
@click.option("--published", is_flag=True, help="Put published figures beside those that match them.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CSV file of published figures to use in place of those that come with pebench.",
)
@click.option("--latex", is_flag=True, help="Write leaderboard.tex too, for papers.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON list with one object a sweep, in place of the tables.",
)
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
    as_json: bool,
    uri: str | None,
) -> int:
    """Regenerate the tables, plots and report of sweeps from their runs.

    SWEEP is the name of a submitted sweep, or its file; without one, all are written. What was not submitted
    here is made anew from the CSV files of its results, where these hold all that it takes. A mean stands
    only where every seed has finished. The claims of claims.yaml, in the sweep's folder of results or beside
    its file, are answered. The exit status is 1 where a damaged run was left out.

    \b
    Examples:
      pebench leaderboard
      pebench leaderboard sweeps/quickstart.yaml --baseline alibi --latex
      pebench leaderboard quickstart --json | jq '.[0].leaderboard[] | [.encoding, .extent, .mean]'
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
    from pebench.leaderboard.read_results import MADE_OF, known_to_runs_alone
    from pebench.leaderboard.sources import (
        folders_of_claims,
        from_runs_or_results,
        from_store,
        results_alone,
    )
    from pebench.leaderboard.terminal import print_board
    from pebench.leaderboard.write import write_leaderboard

    others = read_figures(figures or BUILT_IN) if published else None
    anew = results_alone(runs, sweeps, output) if uri is None else []
    for name in anew:
        if alone := known_to_runs_alone(output / name):
            raise UserError(
                f"sweep '{name}' was not submitted here, and its results hold what its runs alone know "
                f"({', '.join(alone)}): 'pebench import' adds them from an archive."
            )
    found = from_store(uri, sweeps) if uri is not None else from_runs_or_results(runs, sweeps, output)
    objects, complete = [], True
    for collection in found:
        name = collection.sweep.name
        claims = claims_of(name, folders_of_claims(runs, name, sweeps, output))
        board = make_board(collection, baseline, others, claims)
        with errors_of_files(output, "cannot read or write"):
            made_of = MADE_OF if name in anew else ()
            folder = write_leaderboard(board, output, with_latex=latex, made_of=made_of)
        if as_json:
            objects.append(_object(board, folder))
        else:
            print_board(board)
        for warning in collection.warnings:
            click.echo(f"pebench: {warning}", err=True)
        if name in anew:
            click.echo(
                f"pebench: '{name}' was not submitted here: this is made of the CSV files of its results, "
                "and the page has no losses in training.",
                err=True,
            )
        click.echo(f"Written: {folder}, with report.html to open in a browser", err=as_json)
        complete = complete and not collection.unreadable
    if as_json:
        click.echo(json.dumps(objects, indent=1, allow_nan=False))
    return 0 if complete else 1


def _object(board: Board, folder: Path) -> dict[str, Any]:
    """The rows of leaderboard.csv, and of overall.csv where there is one, with null for what is not known."""
    from pebench.leaderboard.files import frames

    written = frames(board)
    tables = {
        name: json.loads(written[f"{name}.csv"].to_json(orient="records", double_precision=15))
        for name in ("leaderboard", "overall")
        if f"{name}.csv" in written
    }
    collection = board.collection
    return {
        "sweep": collection.sweep.name,
        "written": str(folder),
        "warnings": list(collection.warnings),
        "unreadable": list(collection.unreadable),
        **tables,
    }
