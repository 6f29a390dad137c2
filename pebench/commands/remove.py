"""`pebench remove`: take runs and sweeps away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pebench.command_line.completion import runs_and_sweeps
from pebench.command_line.parameter_types import runs_option
from pebench.notation.quantities import counted

if TYPE_CHECKING:
    from pebench.submission.remove import Removal


@click.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="RUN-or-SWEEP...", shell_complete=runs_and_sweeps)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@runs_option
def command(names: tuple[str, ...], yes: bool, dry_run: bool, runs: Path) -> None:
    """Remove the folders of runs, or sweeps with their runs, after a question.

    A run is named by its id or the beginning of it. What another sweep uses, or another run begins with, is
    never touched; nor is what is under way. A run that is removed from a sweep is missing there, and the next
    'pebench submit' starts it anew.

    \b
    Examples:
      pebench remove rope-3f
      pebench remove my-quickstart --dry-run
    """
    from pebench.submission.remove import plan, remove

    removal = plan(runs, list(names))
    for name in removal.sweeps:
        click.echo(f"sweep {name}")
    for run_id in removal.runs:
        click.echo(f"run {runs / run_id}")
    for run_id, why in removal.kept.items():
        click.echo(f"{run_id} stays: {why}.")
    if dry_run or not (removal.runs or removal.sweeps):
        return
    if not yes and not _agreed(f"Remove {_counted(removal)} for good?"):
        click.echo("Nothing was removed.")
        return
    remove(runs, removal)
    click.echo(f"{_counted(removal)} removed.")


def _agreed(question: str) -> bool:
    """
    Raises:
        UserError: nobody is there to answer.
    """
    from pebench.errors import UserError

    try:
        return click.confirm(question)
    except click.Abort as abort:
        # Click raises it for Ctrl-C and for the end of what it reads alike; the latter is no interruption.
        if not isinstance(abort.__context__, EOFError):
            raise
    raise UserError("nobody answered, and nothing was removed: --yes removes without a question.")


def _counted(removal: Removal) -> str:
    counts = {"run": len(removal.runs), "sweep": len(removal.sweeps)}
    return " and ".join(counted(count, what) for what, count in counts.items() if count)
