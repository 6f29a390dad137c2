"""Interface for Python: what `pebench` the command does, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pebench.attention.encoded_positions import encoded_positions as encoded_positions
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.leaderboard import from_runs, make_board
from pebench.leaderboard.results import Results
from pebench.plugins.named_files import plugin_files
from pebench.plugins.registry import load_plugin as _load_plugin
from pebench.position_encoding import Extrapolation as Extrapolation
from pebench.position_encoding import Geometry as Geometry
from pebench.position_encoding import PositionEncoding
from pebench.position_encoding import grid as grid
from pebench.position_encoding import tabulate as tabulate
from pebench.resolve import resolve, start_named
from pebench.running.execution import Execution, Observer, torch_device
from pebench.running.finished import FinishedRun, load_finished
from pebench.running.launch import execute_here
from pebench.specification.options import validated
from pebench.specification.run_spec import Frozen, RunSpec
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder, find_run, runs_folder
from pebench.submission.cells import carry_out, without_device
from pebench.submission.progress import Bars, Display
from pebench.submission.requirements import execution_of
from pebench.submission.resources import Resources
from pebench.submission.status import CellStatus, statuses
from pebench.submission.submissions import Cluster
from pebench.submission.submit import Submitted
from pebench.submission.submit import submit as _submit
from pebench.sweeping.recorded import recorded_sweep
from pebench.sweeping.sweep import Sweep
from pebench.sweeping.sweep import load_sweep as load_sweep

if TYPE_CHECKING:
    import pandas


class _Request(Frozen):
    """A run as a user writes it."""

    encoding: str | dict[str, Any]
    task: str | dict[str, Any]
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    plugins: tuple[Path, ...] = ()
    start: str | None = Field(default=None, alias="from")


def run(
    spec: RunSpec | Mapping[str, Any],
    runs: str | Path | None = None,
    execution: Execution | None = None,
    *,
    progress: bool | Observer | None = None,
) -> Result:
    """Carries one run out, or goes on with it, and returns its scores; a finished one is read, not run again.

    Args:
        spec: a specification, or a mapping with the keys encoding, task, model, train, seed, plugins (files
            that define encodings or tasks) and from (the id of a finished run whose weights it begins with,
            or a published model as ``timm:NAME`` or ``hf:PATH_OR_NAME``), as in
            ``{"encoding": {"rope": {"base": 500}}, "task": "language-modeling", "train": {"steps": 100}}``.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
        execution: device, threads, ranks and the like, which do not change the result.
        progress: whether to show a bar, by default where there is a terminal or a notebook to show it in; or
            an observer that is told instead.

    Raises:
        UserError: something in the specification is wrong, or another process holds the run.
    """
    place = Path(runs) if runs is not None else runs_folder()
    if not isinstance(spec, RunSpec):
        request = validated(_Request, dict(spec), "a run")
        for plugin in request.plugins:
            load_plugin(plugin)
        spec = resolve(
            request.encoding,
            request.task,
            model=request.model,
            train=request.train,
            seed=request.seed,
            start=None if request.start is None else start_named(place, request.start),
        )
    folder = RunFolder(place / spec.run_id)
    folder.create(spec, plugin_files(spec))
    if progress is not None and not isinstance(progress, bool):
        result = execute_here(folder, execution, observer=progress)
    elif (result := folder.result()) is None:
        with _display(progress) as display:
            display.begin(spec.encoding.label or spec.encoding.name, 1, 1)
            result = execute_here(folder, execution, observer=display)
            display.end(result.status if result is not None else "stopped")
    assert result is not None, "a run that nobody stops ends with a result"
    return result


def _display(progress: bool | None) -> Display:
    from rich.console import Console

    if progress is None:
        console = Console(stderr=True)
        progress = console.is_terminal or console.is_jupyter
    return Bars() if progress else Display()


def load_plugin(path: str | Path) -> None:
    """Takes in a file that defines an encoding or a task, as ``--plugin FILE`` does.

    Raises:
        UserError: it defines neither, cannot be imported, or its name is taken.
    """
    _load_plugin(Path(path))


def submit(
    sweep: Sweep | str | Path,
    runs: str | Path | None = None,
    cluster: Cluster = "inline",
    *,
    progress: bool | None = None,
    **resources: Any,
) -> Submitted:
    """Starts the cells of a sweep that are neither finished nor under way.

    Args:
        sweep: a sweep, the path of its file, or its name.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
        cluster: ``"inline"`` carries the cells out here, one after another, before it returns; ``"local"``
            starts workers in the background, ``"slurm"`` jobs.
        progress: whether to show bars for ``"inline"``, by default where there is a terminal or a notebook to
            show them in.
        resources: what each job gets, by the names of the options of ``pebench submit``: ``mem="16G"``.

    Raises:
        UserError: something in the sweep or the resources is wrong, the cluster refuses the jobs, or cells
            that were carried out here failed.
        KeyboardInterrupt: it was interrupted; the same call goes on from there.
    """
    place = Path(runs) if runs is not None else runs_folder()
    if not isinstance(sweep, Sweep):
        sweep = load_sweep(sweep, place)
    given = validated(Resources, resources, "a submission")
    submitted = _submit(sweep, place, cluster, given)
    if cluster == "inline" and submitted.started:
        outcome = carry_out(place, submitted.submissions[0], execution_of(sweep, given), _display(progress))
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.failed:
            run_id, message = next(iter(outcome.failed.items()))
            left = f" {without_device(outcome.lost_device)}" if outcome.lost_device is not None else ""
            raise UserError(
                f"{len(outcome.failed)} of {len(submitted.started)} cells failed, {run_id} with: "
                f"{message.rstrip('.')}. pebench.status('{sweep.name}') has all.{left}"
            )
        if outcome.unchosen:
            raise UserError(outcome.unchosen[0])
    return submitted


def status(sweep: str, runs: str | Path | None = None) -> pandas.DataFrame:
    """Where every cell of a submitted sweep stands.

    Args:
        sweep: its name or file.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.

    Returns:
        One row a cell; the columns are the attributes of `pebench.submission.status.CellStatus`.

    Raises:
        UserError: there is no such sweep.
    """
    import pandas

    place = Path(runs) if runs is not None else runs_folder()
    cells = statuses(place, recorded_sweep(place, sweep).runs)
    rows = [cell.model_dump(mode="json") for cell in cells]
    return pandas.DataFrame(rows, columns=list(CellStatus.model_fields))


def results(sweep: str, runs: str | Path | None = None, baseline: str | None = None) -> Results:
    """The results of a submitted sweep as data frames, those that ``pebench leaderboard`` writes.

    Args:
        sweep: its name or file.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
        baseline: the encoding that the others are compared with, by default the one that the sweep names.

    Raises:
        UserError: there is no such sweep, a run cannot be read, or no encoding is called like the baseline.
    """
    place = Path(runs) if runs is not None else runs_folder()
    (collection,) = from_runs(place, [sweep])
    return Results(make_board(collection, baseline))


def load(
    run: str, runs: str | Path | None = None, device: str = "auto", step: int | None = None
) -> FinishedRun:
    """The trained model of a finished run, for use: ``pebench.load("rope-3f").model``.

    Args:
        run: its id, or enough of the beginning.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for CUDA where there is one.
        step: an update whose weights were kept (`train.keep_weights`); by default the last.

    Raises:
        UserError: there is no such run, it is not finished, or its folder is not complete.
    """
    folder = find_run(Path(runs) if runs is not None else runs_folder(), run)
    return load_finished(folder, torch_device(device), step)


def encoding(name: str, geometry: Geometry, **options: Any) -> PositionEncoding:
    """A position encoding by name, for use in a model of your own.

    Args:
        name: as `pebench list` prints it.
        geometry: what the encoding must know of the model.
        options: as `pebench show NAME` prints them.

    Raises:
        UserError: the name or an option is wrong, or the encoding refuses the geometry.
    """
    return build_encoding(name, options, geometry)
