"""Interface for Python: `pebench.running.run`, `pebench.load_sweep` and `pebench.position_encoding`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from pebench.encoding_config import build_encoding
from pebench.options import validated
from pebench.position_encoding import Geometry, PositionEncoding
from pebench.resolve import plugin_files, resolve
from pebench.running.execution import Execution, torch_device
from pebench.running.finished import FinishedRun, load_finished
from pebench.running.launch import execute_here
from pebench.spec import Frozen, RunSpec
from pebench.store import Result, RunFolder, find_run, runs_folder
from pebench.sweeping.sweep import load_sweep

__all__ = ["encoding", "load", "load_sweep", "run"]


class _Request(Frozen):
    """A run as a user writes it."""

    encoding: str | dict[str, Any]
    task: str | dict[str, Any]
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    start: str | None = Field(default=None, alias="from")


def run(
    spec: RunSpec | Mapping[str, Any],
    runs: str | Path | None = None,
    execution: Execution | None = None,
) -> Result:
    """Carries one run out, or goes on with it, and returns its scores; a finished one is read, not run again.

    Args:
        spec: a specification, or a mapping with the keys encoding, task, model, train, seed and from (the id
            of a finished run whose weights it begins with), as
            ``{"encoding": {"rope": {"base": 500}}, "task": "language-modeling", "train": {"steps": 100}}``.
        runs: the folder of the runs; by default PEBENCH_RUNS or `runs` in the working folder.
        execution: device, threads, ranks and the like, which do not change the result.

    Raises:
        UserError: something in the specification is wrong, or another process holds the run.
    """
    place = Path(runs) if runs is not None else runs_folder()
    if not isinstance(spec, RunSpec):
        request = validated(_Request, dict(spec), "a run")
        spec = resolve(
            request.encoding,
            request.task,
            model=request.model,
            train=request.train,
            seed=request.seed,
            start=None if request.start is None else find_run(place, request.start).spec(),
        )
    folder = RunFolder(place / spec.run_id)
    folder.create(spec, plugin_files(spec))
    result = execute_here(folder, execution)
    assert result is not None, "a run that nobody stops ends with a result"
    return result


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
