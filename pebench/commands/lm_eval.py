"""`pebench lm-eval`: the command line of lm-eval, with finished runs as its models."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pebench.command_line.completion import runs as runs_of_user
from pebench.command_line.parameter_types import runs_option
from pebench.errors import UserError, unknown

_OTHERS = ("ls", "validate")
"""Subcommands of lm-eval's command line beside evaluating."""

_NO_TASKS = "--tasks names what to evaluate on; 'pebench lm-eval ls tasks' lists all there is."


@click.command("lm-eval", context_settings={"ignore_unknown_options": True})
@click.option(
    "--run",
    metavar="ID",
    shell_complete=runs_of_user,
    help="The finished run to evaluate, by its id or the beginning of it.",
)
@runs_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[LM-EVAL'S OPTIONS]...")
def command(run: str | None, runs: Path, arguments: tuple[str, ...]) -> None:
    """Evaluate a finished language model on any task of lm-eval, whose command line gets all other options.

    Contexts are read whole, however far beyond the trained extent, unless --model_args max_length=N cuts
    them; other model arguments are extrapolation=NAME and extent=N. Batch size and device are chosen
    automatically unless they are given.

    \b
    Examples:
      pebench lm-eval ls tasks
      pebench lm-eval -- run --help
      pebench lm-eval --run rope-3f --tasks wikitext --model_args max_length=4096 extrapolation=yarn
      pebench lm-eval --run rope-3f --tasks lambada_openai,hellaswag --output_path results
    """
    first = arguments[0] if arguments else None
    if first in _OTHERS or {"-h", "--help"} & {*arguments}:
        _hand_over(arguments)
        return
    if run is None:
        raise UserError("--run ID names the finished run to evaluate.")
    _evaluate(run, runs, arguments[1:] if first == "run" else arguments)


def _hand_over(arguments: Sequence[str]) -> None:
    """Runs lm-eval's own command line."""
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["pebench lm-eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _evaluate(run: str, runs: Path, arguments: Sequence[str]) -> None:
    """Runs lm-eval's command line with a run for its model.

    Raises:
        UserError: something is wrong with the run, an option or a task.
    """
    from pebench.running.finished import require_weights
    from pebench.store.run_folder import find_run

    folder = find_run(runs, run)
    if not arguments:
        raise UserError(_NO_TASKS)
    # Before lm-eval has looked through all of its tasks, which takes seconds.
    require_weights(folder)
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    import pebench.lm_eval  # noqa: F401 # registers the model

    setup_logging()
    harness = HarnessCLI()
    namespace = _parsed(harness, arguments)
    if getattr(namespace, "model", None) not in (None, "pebench"):
        raise UserError("--model is not for 'pebench lm-eval', whose model is the run that --run names.")
    written = _config_file(namespace)
    namespace.model = "pebench"
    namespace.model_args = {
        **written.get("model_args", {}),
        **(namespace.model_args or {}),
        "run": folder.run_id,
        "runs": str(runs),
    }
    for name in ("batch_size", "device"):
        if getattr(namespace, name, None) is None and name not in written:
            setattr(namespace, name, "auto")
    _check(namespace)
    try:
        harness.execute(namespace)
    except ValueError as error:
        raise _missing_task(error, namespace) or error from error
    except (ConnectionError, FileNotFoundError, ImportError) as error:
        # Data that is neither here nor reachable, or a package that one task alone wants.
        raise UserError(f"lm-eval: {_line(error)}.") from error


def _parsed(harness: Any, arguments: Sequence[str]) -> Any:
    """The arguments as lm-eval reads them."""
    before, told = sys.argv, io.StringIO()
    sys.argv = ["lm-eval", "run", *arguments]
    try:
        with contextlib.redirect_stderr(told):
            return harness.parse_args()
    except SystemExit as error:
        sentence = told.getvalue().strip().rpartition("error: ")[2]
        raise UserError(
            f"lm-eval: {sentence} ('pebench lm-eval -- run --help' shows its options)."
        ) from error
    except ValueError as error:
        raise UserError(f"lm-eval: {_line(error)}.") from error
    finally:
        sys.argv = before


def _config_file(namespace: Any) -> dict[str, Any]:
    """Settings of a file of --config."""
    if not namespace.config:
        return {}
    from lm_eval.config.evaluate_config import EvaluatorConfig

    try:
        written: dict[str, Any] = EvaluatorConfig.load_yaml_config(namespace.config)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"lm-eval: {_line(error)}.") from error
    if not isinstance(written.setdefault("model_args", {}), dict):
        raise UserError(f"'model_args' in {namespace.config} is a mapping, not {written['model_args']!r}.")
    return written


def _check(namespace: Any) -> None:
    """Refuses combinations of options that lm-eval refuses."""
    from lm_eval.config.evaluate_config import EvaluatorConfig

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            config = EvaluatorConfig.from_cli(namespace)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"lm-eval: {_line(error)}.") from error
    if not config.tasks:
        raise UserError(_NO_TASKS)
    if config.include_path and not Path(config.include_path).is_dir():
        raise UserError(f"there is no folder '{config.include_path}' of tasks for lm-eval.")


def _missing_task(error: ValueError, namespace: Any) -> UserError | None:
    """The sentence for a task that does not exist; None for any other error."""
    missing = str(error).removeprefix("Tasks not found: ")
    if missing == str(error):
        return None
    from lm_eval.tasks import TaskManager

    known = TaskManager(include_path=namespace.include_path).all_tasks
    return unknown("lm-eval task", missing.split(",")[0], known)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
