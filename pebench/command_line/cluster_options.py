"""The options of `submit` and `retry` that say where cells run and what each job gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.parameter_types import SbatchParameter
from pebench.errors import UserError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from pebench.submission.resources import Resources


class ClusterCommand(click.Command):
    """A command with ``--cluster``, ``--profile`` and an option for each field of `Resources`.

    They are made when they are needed: the list of commands does without pydantic.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters of the command, these options after its own."""
        *own, help_option = super().get_params(ctx)
        return [*own, *_options(), help_option]


@cache
def _options() -> list[click.Option]:
    from pebench.submission.resources import Resources

    cluster = click.Option(
        ["--cluster"],
        type=click.Choice(["inline", "local", "slurm"]),
        help="This process, workers in the background of this machine, or SLURM job arrays.  "
        "[default: inline, or slurm with --profile; 'retry' takes what was taken before]",
    )
    profile = click.Option(
        ["--profile"],
        metavar="NAME",
        help="What to ask SLURM for, from a file: its path, or its name beside the sweep or in the folder "
        "~/.config/pebench/clusters.",
    )
    return [cluster, profile, *(_option(name, field) for name, field in Resources.model_fields.items())]


def _option(name: str, field: FieldInfo) -> click.Option:
    from pebench.submission.resources import OPTIONS, flag

    return click.Option(
        [flag(name)],
        type=_type(field),
        multiple=isinstance(field.get_default(call_default_factory=True), (tuple, dict)),
        metavar=OPTIONS[name].metavar,
        help=OPTIONS[name].help,
    )


def _type(field: FieldInfo) -> click.ParamType[Any]:
    from pydantic import BeforeValidator

    if field.default_factory is dict:
        return SbatchParameter()
    for part in field.metadata:
        if isinstance(part, BeforeValidator):
            return _Checked(part.func)
        if (least := getattr(part, "ge", None)) is not None:
            return click.IntRange(min=least)
    return click.STRING


class _Checked(click.ParamType[str]):
    """A text that a function can read; `Resources` reads it again."""

    name = "text"

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is."""
        try:
            self._read(value)
        except ValueError as error:
            self.fail(f"{error}.")
        return str(value)


def requested(
    beside: Path | None,
    cluster: str,
    profile: str | None,
    options: dict[str, Any],
    before: Resources | None = None,
) -> Resources:
    """The resources of each job.

    Args:
        beside: the file of the sweep, beside which a profile may be; None where there is none.
        cluster: where cells run.
        profile: its name or file, None for none.
        options: the values of the options of a `ClusterCommand`.
        before: the resources that hold where neither the profile nor the options say anything.

    Raises:
        UserError: something is for another cluster, or is wrong.
    """
    from pebench.specification.options import validated
    from pebench.submission import resources
    from pebench.submission.profile import merged, read_profile

    given = {name: value for name, value in options.items() if value not in (None, ())}
    given["slurm"] = _mapping(given.get("slurm", ()))
    _refuse_misplaced(cluster, profile, given)
    written = read_profile(profile, beside) if profile else {}
    earlier = before.model_dump() if before is not None else {}
    return validated(resources.Resources, {**earlier, **merged(written, given)}, "a job")


def _mapping(parameters: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parameters:
        if key in found:
            raise UserError(f"the parameter '{key}' of sbatch stands twice.")
        found[key] = value
    return found


def _refuse_misplaced(cluster: str, profile: str | None, given: dict[str, Any]) -> None:
    from pebench.submission.resources import OPTIONS, flag

    if profile and cluster != "slurm":
        raise UserError(f"--profile is for '--cluster slurm', not for '--cluster {cluster}'.")
    for name, value in given.items():
        if cluster in OPTIONS[name].clusters or value == {}:
            continue
        if "local" in OPTIONS[name].clusters:
            where = "'--cluster local' and '--cluster slurm': inline runs go one by one here"
            raise UserError(f"{flag(name)} is for {where}.")
        raise UserError(f"{flag(name)} is for '--cluster slurm', not for '--cluster {cluster}'.")
    if "at_once" in given and "pack" not in given and not profile:
        raise UserError(
            "--at-once says how many cells of a pack run side by side: --pack says how many it has."
        )
