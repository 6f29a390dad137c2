"""`pebench doctor`: what is here, what is missing, and what that means."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pebench.command_line.parameter_types import runs_option
from pebench.notation.quantities import counted


@click.command("doctor")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list with an object a finding.")
def command(runs: Path, as_json: bool) -> int:
    """Check what pebench needs: packages, devices, SLURM, the tracking store, plugins and folders.

    Exits with status 1 if something essential is broken. What is only missing, as a GPU or SLURM, is said.

    \b
    Example:
      pebench doctor
    """
    from pebench.doctor import examine

    signs = {"good": ("ok", "green"), "absent": ("--", "yellow"), "broken": ("NO", "red")}
    broken = 0
    if as_json:
        findings = list(examine(runs))
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
        return 1 if any(finding.state == "broken" for finding in findings) else 0
    for finding in examine(runs):
        sign, color = signs[finding.state]
        click.echo(f"{click.style(sign, fg=color)}  {finding.subject}: {' '.join(finding.text.split())}")
        broken += finding.state == "broken"
    if broken:
        click.echo(f"{counted(broken, 'essential thing')} broken.", err=True)
    return 1 if broken else 0
