"""`pebench claims`: what was shown of the claims about a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from pebench.command_line.completion import sweeps
from pebench.command_line.parameter_types import results_option, runs_option
from pebench.errors import UserError


@click.command("claims")
@click.argument("sweep", metavar="SWEEP", shell_complete=sweeps)
@runs_option
@results_option("--results")
@click.option(
    "--claims", "file", type=click.Path(path_type=Path), metavar="FILE", help="Another file of claims."
)
@click.option("--write", is_flag=True, help="Write claims.md and claims.csv into the sweep's results.")
def command(sweep: str, runs: Path, results: Path, file: Path | None, write: bool) -> int:
    """Answer the claims about a sweep: shown, refuted, or not shown and what would be needed.

    The claims stand in claims.yaml, in the folder of the sweep's results or beside the sweep's file. They are
    answered from the runs; where SWEEP was not submitted here, from the CSV files of its results, which know
    the seeds alone. A claim is shown or refuted below 5 % after Holm's correction over all claims. The exit
    status is 1 where a damaged run was left out.

    \b
    Examples:
      pebench claims quickstart
      pebench claims novels --write
      pebench claims quickstart --claims my-claims.yaml
    """
    from pebench import atomic
    from pebench.leaderboard.answers import answer
    from pebench.leaderboard.claims import FILE, claims_of, read_claims
    from pebench.leaderboard.files import answers_frame, csv_text
    from pebench.leaderboard.markdown import claims_markdown
    from pebench.leaderboard.sources import folders_of_claims, from_runs_or_results
    from pebench.leaderboard.terminal import print_answers
    from pebench.machine.console import plain_console

    (collection,) = from_runs_or_results(runs, [sweep], results)
    name = collection.sweep.name
    folders = folders_of_claims(runs, name, [sweep], results)
    claims = read_claims(file) if file is not None else claims_of(name, folders)
    if not claims:
        where = " or ".join(str(folder / FILE) for folder in folders)
        raise UserError(f"there are no claims about '{name}': write them into {where}.")
    answers = answer(collection, claims)
    print_answers(answers, plain_console())
    for warning in collection.warnings:
        click.echo(f"pebench: {warning}", err=True)
    if write:
        folder = results / name
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(folder / "claims.md", claims_markdown(name, answers))
        atomic.write_text(folder / "claims.csv", csv_text(answers_frame(answers)))
        click.echo(f"Written: {folder / 'claims.md'} and claims.csv")
    return 1 if collection.unreadable else 0
