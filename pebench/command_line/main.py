"""The command line: finds the commands, and turns mistakes into one sentence and exit status 2."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import logging
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pebench import commands
from pebench.errors import UserError, shown, unknown
from pebench.notation.unicode import whole


class Commands(click.Group):
    """One command a file of `pebench/commands`, in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands."""
        return sorted((m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__)), key=_rank)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"pebench.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that the arguments name, or a sentence with the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


_ORDER = [
    "list",
    "show",
    "check",
    "run",
    "submit",
    "status",
    "logs",
    "cancel",
    "retry",
    "remove",
    "rename",
    "sync",
    "leaderboard",
    "compare",
    "extend",
    "claims",
    "ui",
    "register",
    "doctor",
]


def _rank(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pebench")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A Python file that defines an encoding or a task. Can be given several times.",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="No progress display; mistakes and failures are still told."
)
@click.option("-v", "--verbose", is_flag=True, help="Print what runs write into their logs on stderr too.")
@click.pass_context
def pebench(context: click.Context, plugins: tuple[Path, ...], quiet: bool, verbose: bool) -> None:
    """Compare Transformer position encodings: submit a sweep, browse the runs, regenerate the leaderboard.

    \b
    Examples:
      pebench list
      pebench submit sweeps/quickstart.yaml --cluster inline
      pebench leaderboard sweeps/quickstart.yaml
    """
    context.obj = {"quiet": quiet}
    if verbose:
        _print_logs()
    if plugins:
        from pebench.plugins.registry import load_plugin

        for path in plugins:
            load_plugin(path)


def _print_logs() -> None:
    log = logging.getLogger("pebench")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit status: 0 done, 1 a run failed, 2 a mistake of the user, 130 interrupted, 141 the reader of a
        pipe has gone.
    """
    # Python would look through all that was imported for garbage before it leaves: a second where MLflow was.
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no letter for a sign shows '?' in its place.
            stream.reconfigure(errors="replace")
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            _check_text(argument)
        status = pebench.main(args=arguments, prog_name="pebench", standalone_mode=False)
    except UserError as error:
        click.echo(f"pebench: {error}", err=True)
        return 2
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        click.echo(f"pebench: {_sentence(error)}", err=True)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "pebench").partition(".")[0]
        if package == "pebench":
            raise
        click.echo(
            f"pebench: this needs the Python package '{package}', which is not installed here; "
            "'pip install pebench' installs all that any command needs.",
            err=True,
        )
        return 2
    except click.Abort:
        click.echo("pebench: interrupted.", err=True)
        return 130
    except SystemExit as end:
        # With 1 Click and Rich end where nobody reads on; completion of names ends with 0.
        if end.code != 1:
            raise
        return 141
    except OSError as error:
        if error.strerror is None:
            raise
        # A disk that is full, a folder that nobody may write, a name longer than names can be.
        what = f"{shown(str(error.filename))}: " if error.filename is not None else ""
        click.echo(f"pebench: {what}{error.strerror}.", err=True)
        return 2
    except Exception as error:
        from pebench.plugins.registry import told_of_plugin

        told = told_of_plugin(error)
        if told is None:
            raise
        click.echo(f"pebench: {told}", err=True)
        return 2
    return status if isinstance(status, int) else 0


def _check_text(argument: str) -> None:
    """Refuses what no file, no JSON and no terminal can hold."""
    if "\0" in argument or whole(argument) != argument:
        raise UserError(f"the argument {shown(argument)} is no valid text.")


def _sentence(error: click.ClickException) -> str:
    text = str(UserError(" ".join(error.format_message().split())))
    context = getattr(error, "ctx", None)
    where = f" (pebench {context.info_name} --help shows the options)" if context and context.parent else ""
    return text.rstrip(".") + where + "."
