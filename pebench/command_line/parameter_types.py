"""Parameter types that several commands share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.completion import options

if TYPE_CHECKING:
    from pebench.specification.plugin_ref import PluginRef


def _runs_folder() -> Path:
    # The help of a command needs no pydantic, which this import brings.
    from pebench.store.run_folder import runs_folder

    return runs_folder()


runs_option = click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default=_runs_folder,
    show_default="PEBENCH_RUNS, or 'runs' here",
    help="Folder of the runs.",
)
"""``--runs FOLDER``."""

results_option = partial(
    click.option,
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="The folder of results.",
)
"""``NAME FOLDER``, by the name that is given."""


class SbatchParameter(click.ParamType[tuple[str, str | bool]]):
    """``key=value``, or ``key`` alone for a switch; the value stays as it is written."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | bool]:
        """The key, with hyphens and without those in front, and the value; True for a switch."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key.strip("-") or (equals and not text):
            self.fail(f"'{value}' is not of the form key=value.")
        return key, text if equals else True


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


settings_option = partial(
    click.option, "--set", "settings", multiple=True, type=Assignment(), metavar="PATH=VALUE"
)
"""``--set PATH=VALUE``, any number of times, with the help that is given."""

encoding_options = click.option(
    "--option",
    "options",
    multiple=True,
    type=Assignment(),
    shell_complete=options,
    metavar="KEY=VALUE",
    help="An option of the encoding.",
)
"""``--option KEY=VALUE``, any number of times."""


def encoding_ref(text: str) -> PluginRef:
    """An encoding on the command line: a name, ``learned + rope``, or the YAML of a sweep, as ``{compose:
    [learned, {rope: {base: 500}}]}`` or ``{layers: [{rope: {}, times: 3}, none]}``.

    Raises:
        UserError: it is no YAML.
    """
    from pebench.sweeping import yaml_file

    if not text.lstrip().startswith("{"):
        return text
    ref: PluginRef = yaml_file.parse(text, f"'{text}'")
    return ref
