"""What several commands let a user write, and how it is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click


def _runs_folder() -> Path:
    # The help of a command needs no pydantic, which this import brings.
    from pebench.store import runs_folder

    return runs_folder()


runs_option = click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default=_runs_folder,
    show_default="PEBENCH_RUNS, or 'runs' here",
    help="Folder of the runs.",
)
"""``--runs FOLDER``."""


class Minutes(click.ParamType[int]):
    """A time limit as SLURM writes it, in whole minutes, rounded up."""

    name = "time"

    _forms = (
        re.compile(r"(?P<minutes>\d+)(:(?P<seconds>\d+))?"),
        re.compile(r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)"),
        re.compile(r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+))?(:(?P<seconds>\d+))?"),
    )

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The minutes of ``90``, ``1:30:00`` or ``2-12``."""
        if isinstance(value, int):
            return value
        for form in self._forms:
            if match := form.fullmatch(value):
                parts = {unit: int(number) for unit, number in match.groupdict(default="0").items()}
                seconds = sum(parts.get(unit, 0) * size for unit, size in _SECONDS.items())
                if seconds:
                    return -(-seconds // 60)
        return self.fail(f"'{value}' is no time limit: write minutes, hours:minutes:seconds or days-hours.")


_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class Gigabytes(click.ParamType[float]):
    """An amount of memory, as ``16G`` or ``500M``."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The gigabytes; a bare number is megabytes, as in SLURM."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([MGT]?)B?", value, re.IGNORECASE)
        if match is None or not float(match[1]):
            self.fail(f"'{value}' is no amount of memory: write it as 16G or 500M.")
        return float(match[1]) * {"": 1 / 1024, "M": 1 / 1024, "G": 1.0, "T": 1024.0}[match[2].upper()]


class Assignment(click.ParamType[tuple[str, Any]]):
    """``key=value``; the value is read as YAML: ``steps=100`` is a number, ``betas=[0.9, 0.99]`` a list."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """The key and the value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key:
            self.fail(f"'{value}' is not of the form key=value.")
        from pebench.sweeping import yaml_file

        return key, yaml_file.parse(text, f"'{value}'")
