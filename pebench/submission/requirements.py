"""What a submit needs before it writes anything: a cluster, ranks that fit, data, weights to begin with."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pebench.data.needed import Needed
from pebench.errors import UserError
from pebench.plugins.memo import remembered
from pebench.running.execution import Execution, check_ranks
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.submission import slurm
from pebench.submission.resources import Resources
from pebench.submission.submissions import Cluster
from pebench.sweeping.sweep import Sweep


def execution_of(sweep: Sweep, resources: Resources) -> Execution:
    """How the runs of a sweep are carried out with these resources."""
    return sweep.execution.model_copy(update={"ranks": resources.ranks or sweep.execution.ranks})


def idle_devices(sweep: Sweep, resources: Resources) -> str:
    """A sentence where the GPUs of a job are more or fewer than the processes that could use them; else
    empty."""
    ranks, gpus = execution_of(sweep, resources).ranks // resources.nodes, resources.gpus
    users = ranks * resources.width
    if gpus > users:
        return (
            f"--gpus {gpus} asks for more GPUs than the {users} of each node that would be used: "
            f"--ranks {gpus * resources.nodes} shares each batch of a cell between all, --pack runs several "
            "cells side by side."
        )
    if 0 < gpus < ranks:
        shared = f"{ranks} ranks of a cell share {gpus} GPU{'s' if gpus > 1 else ''} on each node"
        return f"{shared}: --gpus {ranks} gives each its own."
    return ""


def check_path(runs: Path, cluster: Cluster) -> None:
    """Refuses a path of which SLURM or submitit would make another one.

    Raises:
        UserError: it has a sign that they replace.
    """
    for sign in {"slurm": "%\\", "local": "%", "inline": ""}[cluster]:
        if sign in str(runs):
            raise UserError(
                f"'{sign}' in the path of the runs, {runs}, means something else to '--cluster {cluster}': "
                "name another folder with --runs, or use '--cluster inline'."
            )


def terms(
    sweep: Sweep, cluster: Cluster, resources: Resources, to_start: list[RunSpec]
) -> tuple[Resources, int]:
    """What each job gets, and the most tasks that an array of SLURM may have, 0 elsewhere.

    Args:
        sweep: that is submitted. cluster: that carries it out. resources: that were asked for.
        to_start: what its cells may come to that are started.

    Raises:
        UserError: the cluster is not there, ranks do not fit, or data are missing on this machine.
    """
    resources = resources.model_copy(update={"ranks": execution_of(sweep, resources).ranks})
    _check_ranks(sweep, resources)
    if cluster == "slurm":
        resources, largest = slurm.terms(resources)
        try:
            _check_data(to_start)
        except UserError as error:
            # The nodes of a cluster may see files that the machine of submission does not.
            sys.stderr.write(f"pebench: on this machine: {error} If it is so where they run, jobs fail.\n")
        return resources, largest
    _check_data(to_start)
    return resources, 0


def _check_ranks(sweep: Sweep, resources: Resources) -> None:
    """Refuses ranks that cannot share the batches, or be shared by the nodes.

    Raises:
        UserError: that is so.
    """
    ranks, nodes = execution_of(sweep, resources).ranks, resources.nodes
    for spec in sweep.possible().values():
        check_ranks(spec, ranks)
    if ranks % nodes:
        raise UserError(
            f"{ranks} rank{'' if ranks == 1 else 's'} cannot be shared equally by {nodes} nodes: "
            f"--ranks takes a multiple of {nodes}."
        )
    if ranks > 1 and resources.pack > 1:
        raise UserError(f"a job of {ranks} ranks carries out one cell: --pack is for cells of one rank.")


def _check_data(specs: Iterable[RunSpec]) -> None:
    """Looks for the data of each task once.

    Raises:
        UserError: it is not there.
    """
    for spec in {spec.task.model_dump_json(): spec for spec in specs}.values():
        needed = remembered("needed", _of_the_task(spec), partial(_needed, spec))
        if needed is None:
            from pebench.resolve import build_task

            build_task(spec).check()
            continue
        for data in needed:
            Needed.model_validate(data).find()


def require_ready(specs: list[RunSpec], runs: Path) -> None:
    """See `pebench.running.readiness.require_ready`.

    Raises:
        UserError: see there.
    """
    if specs:
        # It takes PyTorch.
        from pebench.running import readiness

        readiness.require_ready(specs, runs)


def require_starts(specs: Iterable[RunSpec], runs: Path) -> None:
    """Refuses cells that begin with a finished run whose weights are gone, as after an import without them:
    it is not trained again, so that each of them would fail by itself.

    Raises:
        UserError: there is such a cell.
    """
    for spec in specs:
        if spec.start is None or not spec.start.is_run:
            continue
        start = RunFolder(runs / spec.start.run)
        result = start.result() if start.is_finished else None
        if result is None or result.status != "done" or not start.spec().keeps_weights:
            continue
        if not start.weights.is_file():
            raise UserError(
                f"run '{spec.run_id}' begins with run '{spec.start.run}', whose weights are not in {runs}: "
                "import it with its weights, or take another folder with --runs, where it is trained anew."
            )


def _of_the_task(spec: RunSpec) -> list[Any]:
    """All that decides the task of a specification; see `pebench.resolve.build_task`."""
    return [spec.task.model_dump(mode="json"), spec.model, spec.train.steps > 0]


def _needed(spec: RunSpec) -> list[dict[str, Any]] | None:
    """The data of a task, as a JSON value; None where the task alone can look for them."""
    from pebench.resolve import build_task
    from pebench.task import Task

    task = build_task(spec)
    if type(task).check is not Task.check:
        return None
    return [data.model_dump(mode="json") for data in task.needed()]
