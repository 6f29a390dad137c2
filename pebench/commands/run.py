"""`pebench run`: one cell, in the foreground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.completion import encodings, settings_of_run, tasks
from pebench.command_line.completion import runs as runs_of_user
from pebench.command_line.parameter_types import encoding_options, encoding_ref, runs_option, settings_option

if TYPE_CHECKING:
    from pebench.sweeping.cell import Cell


@click.command("run")
@click.option(
    "--encoding",
    metavar="NAME",
    shell_complete=encodings,
    help="The encoding; 'pebench list' names them, and compositions are written as in a sweep. With --from "
    "by default that of the run.",
)
@click.option(
    "--task",
    metavar="NAME",
    help="The task, by default language-modeling; with --from that of the run, on its data.",
    shell_complete=tasks,
)
@encoding_options
@settings_option(
    shell_complete=settings_of_run,
    help="Any setting by its path: task.extent=128, model.size=tiny, train.steps=100.",
)
@click.option(
    "--from",
    "start",
    metavar="RUN",
    shell_complete=runs_of_user,
    help="Begin with the weights of a finished run, by its id; of one of timm's models, as timm:NAME; or of "
    "a language model of transformers, as hf:FOLDER or hf:OWNER/NAME. Encoding and model are as there; with "
    "another --encoding the run is converted.",
)
@click.option(
    "--longer",
    metavar="RUN",
    shell_complete=runs_of_user,
    help="Go on with a run for more updates, --set train.steps=NUMBER in all, if its schedule allows that.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of every draw.  [default: 0]")
@click.option("--seeds", type=click.IntRange(min=1, max=1000), help="So many runs, with the seeds from 0.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of PyTorch on the CPU.")
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share each batch.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the model with torch.compile.")
@click.option("--dry-run", is_flag=True, help="Print every setting of the run as JSON, and run nothing.")
@runs_option
def command(
    encoding: str | None,
    task: str | None,
    options: tuple[tuple[str, Any], ...],
    settings: tuple[tuple[str, Any], ...],
    start: str | None,
    longer: str | None,
    seed: int | None,
    seeds: int | None,
    device: Any,
    threads: int | None,
    ranks: int,
    compiled: bool,
    dry_run: bool,
    runs: Path,
) -> int:
    """Train and evaluate one encoding, with a progress display, and print its scores.

    A run that was cut off goes on from its last checkpoint; one that is finished is printed, not run again.

    \b
    Examples:
      pebench run --encoding rope --set train.steps=100
      pebench run --encoding 'learned + rope' --ranks 2
      pebench run --encoding rope --dry-run
      pebench run --encoding rope --seeds 3
      pebench run --encoding rope --option base=500 --set task.extent=64 --seed 1
      pebench run --from rope-3f2a --task retrieval --set train.steps=0
      pebench run --longer rope-3f2a --set train.steps=600
      pebench run --from timm:vit_small_patch16_rope_224 --task image-classification --set train.steps=0
      pebench run --from hf:models/smollm --set train.steps=0 --set task.evaluate=[2048,4096]
    """
    from pebench.errors import UserError
    from pebench.resolve import build_task
    from pebench.running.execution import Execution, check_ranks
    from pebench.running.readiness import require_ready
    from pebench.specification.plugin_ref import split
    from pebench.store.run_folder import RunFolder
    from pebench.submission.cells import run_all
    from pebench.submission.progress import display

    if longer is not None:
        if encoding or task or options or start or seed is not None or seeds is not None:
            raise click.UsageError(
                "--longer takes all of the run but its number of updates: --set alone goes with it."
            )
        cell, seed = _longer(longer, runs)
    else:
        name, written = (None, {}) if encoding is None else split(encoding_ref(encoding), "encoding")
        cell = _cell(name, task) if start is None else _continued(name, task, start, runs)
        cell = cell.updated("encoding", written)
    for key, value in options:
        cell = cell.with_value(f"encoding.{key}", value)
    for path, value in settings:
        cell = cell.with_value(path, value)
    if seed is not None and seeds is not None:
        raise UserError("--seed names one seed and --seeds says how many there are: give one.")
    specs = [cell.resolve(number, runs) for number in (range(seeds) if seeds else [seed or 0])]
    if longer is not None:
        _refuse_what_cannot_go_on(longer, specs[0], runs, device, ranks)
    check_ranks(specs[0], ranks)
    to_start = [spec for spec in specs if not RunFolder(runs / spec.run_id).is_finished]
    if to_start:
        build_task(to_start[0]).check()
    if dry_run:
        for spec in specs:
            click.echo(json.dumps({"run": spec.run_id, **spec.model_dump(mode="json")}, indent=1))
        return 0
    require_ready(to_start, runs)
    for spec in specs:
        _create(RunFolder(runs / spec.run_id), spec)
    execution = Execution(device=device, threads=threads, compile=compiled, ranks=ranks)
    shown = display(quiet=click.get_current_context().obj["quiet"])
    outcome = run_all(runs, [spec.run_id for spec in specs], execution, shown)
    diverged = {run_id for run_id, result in outcome.finished.items() if result.status == "diverged"}
    for run_id, result in outcome.finished.items():
        if run_id not in diverged:
            _print(RunFolder(runs / run_id), result)
            continue
        where = "" if result.diverged_at is None else f" at step {result.diverged_at}"
        click.echo(f"pebench: {run_id} diverged{where} and has no scores: its loss is no number.", err=True)
    for run_id, message in [
        *outcome.failed.items(),
        *((run_id, f"{runs / run_id} is being worked on") for run_id in outcome.skipped),
    ]:
        click.echo(
            f"pebench: {message.rstrip('.')}; {RunFolder(runs / run_id).log} has the details.", err=True
        )
    if outcome.interrupted:
        raise click.Abort
    return 0 if len(outcome.finished) == len(specs) and not diverged else 1


def _cell(encoding: str | None, task: str | None) -> Cell:
    from pebench.errors import UserError
    from pebench.sweeping.cell import Cell

    if encoding is None:
        raise UserError("--encoding names what to train; 'pebench list' lists all there is.")
    return Cell(encoding, "language-modeling" if task is None else task)


def _continued(encoding: str | None, task: str | None, start: str, runs: Path) -> Cell:
    """A cell that begins with the weights of a run. They fit no other model, and encoding, task with its data
    and extents, and model are those of the run where nothing else is asked for; so is the size of the images
    of a published model."""
    from pebench.encoding_config import current_options
    from pebench.errors import UserError
    from pebench.models.vision import VisionOptions
    from pebench.plugins.registry import tasks
    from pebench.pretrained.hf_model import HfModel
    from pebench.resolve import start_named
    from pebench.specification.run_spec import RunSpec
    from pebench.sweeping.cell import Cell

    begun = start_named(runs, start)
    name = encoding or begun.encoding.name
    own = name == begun.encoding.name
    if isinstance(begun, RunSpec):
        task = begun.task.name if task is None else task
        same_model = tasks.load(task).Model is tasks.load(begun.task.name).Model
        places: dict[str, Any] = {
            "encoding": current_options(begun.encoding) if own else {},
            "task": begun.task.options if task == begun.task.name else {},
            "model": begun.model if same_model else {},
        }
        return Cell(name, task, places, start=begun.run_id)
    task = "language-modeling" if task is None else task
    places = {"encoding": begun.encoding.options if own else {}}
    if isinstance(begun, HfModel):
        places["task"] = {"extent": begun.geometry.extent[0]}
    elif tasks.load(task).Model is VisionOptions:
        places |= {"model": {"name": begun.architecture}, "task": {"extent": list(begun.image)}}
    else:
        raise UserError(f"'{begun.reference}' classifies images, which task '{task}' does not.")
    return Cell(name, task, places, start=begun.reference)


def _longer(wanted: str, runs: Path) -> tuple[Cell, int]:
    """The cell of a run as it is, and its seed.

    Raises:
        UserError: the run is not there or cannot be read.
    """
    from pebench.running.plugins import load_plugins
    from pebench.store.run_folder import find_run
    from pebench.sweeping.cell import Cell

    folder = find_run(runs, wanted)
    spec = folder.spec()
    load_plugins(folder, spec)
    own = {
        "encoding": spec.encoding.options,
        "task": spec.task.options,
        "model": spec.model,
        "train": spec.train.model_dump(mode="json"),
    }
    start = None if spec.start is None else spec.start.run
    return Cell(spec.encoding.name, spec.task.name, own, start=start), spec.seed


def _refuse_what_cannot_go_on(wanted: str, spec: Any, runs: Path, device: str, ranks: int) -> None:
    """
    Raises:
        UserError: the settings make another run of it, there are no more updates in them, or it cannot go on
            here.
    """
    from pebench.running.execution import torch_device
    from pebench.running.longer import refuse_going_on, refuse_other_run
    from pebench.store.run_folder import find_run

    folder = find_run(runs, wanted)
    refuse_other_run(folder.spec(), spec.train.steps)
    refuse_going_on(folder, spec, torch_device(device), ranks)


def _create(folder: Any, spec: Any) -> None:
    from pebench.errors import errors_of_files
    from pebench.plugins.named_files import plugin_files

    with errors_of_files(folder.path):
        folder.create(spec, plugin_files(spec))
        folder.cancelled.unlink(missing_ok=True)


def _print(folder: Any, result: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metric", "extent", "extrapolation"):
        table.add_column(heading)
    table.add_column("value", justify="right")
    for score in result.scores:
        extent = "×".join(str(size) for size in score.extent)
        table.add_row(
            score.metric, extent, score.extrapolation, "-" if score.value is None else f"{score.value:.4f}"
        )
    Console().print(table)
    click.echo(f"{folder.path}")
