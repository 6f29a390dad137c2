"""How long cells will take, told from finished runs like them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pebench.specification.run_spec import RunSpec
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder

_ENOUGH = 5
"""Runs of a kind that are read, the newest first."""


class _Pace(NamedTuple):
    """Seconds an update, and of all evaluations together."""

    update: float
    evaluation: float


def seconds(runs: Path, cells: Iterable[RunSpec]) -> dict[str, float]:
    """The time of each cell alone on the machines that ran its like, by run id.

    Runs with the same task, model and batch are alike; those of the same encoding count alone where there
    are any. A cell that has no like is absent.
    """
    wanted = list(cells)
    kinds = {_kind(spec) for spec in wanted}
    paces = _paces(runs, kinds)
    found = {}
    for spec in wanted:
        kind = _kind(spec)
        own, any_encoding = paces[spec.encoding.name, kind], paces["", kind]
        if like := own or any_encoding:
            update, evaluation = (median(values) for values in zip(*like, strict=True))
            times = max(1, len(spec.train.looks))
            found[spec.run_id] = spec.train.steps * update + times * evaluation
    return found


def _paces(runs: Path, kinds: set[str]) -> dict[tuple[str, str], list[_Pace]]:
    """By encoding and kind, and by kind alone."""
    found: dict[tuple[str, str], list[_Pace]] = defaultdict(list)
    finished = sorted(runs.glob("*/result.json"), key=_time, reverse=True)
    for path in finished:
        folder = RunFolder(path.parent)
        try:
            spec = folder.spec()
            kind = _kind(spec)
            if kind not in kinds or len(found[spec.encoding.name, kind]) >= _ENOUGH:
                continue
            pace = _pace(folder)
        except Unreadable:
            continue
        if pace is not None:
            found[spec.encoding.name, kind].append(pace)
            found["", kind].append(pace)
    return found


def _time(path: Path) -> float:
    """When a file was written, in seconds since the epoch; 0 where it has been removed since it was found."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _kind(spec: RunSpec) -> str:
    train = spec.train
    parts = [spec.task.name, spec.task.options, spec.model, train.batch, train.accumulate, train.precision]
    return json.dumps(parts, sort_keys=True)


def _pace(folder: RunFolder) -> _Pace | None:
    """None for a run that says too little, as one that trained nothing or diverged."""
    result = folder.result()
    if result is None or result.status != "done" or not result.cost.items_per_second:
        return None
    points = list(folder.points())
    trained = [point for point in points if any(name.startswith("train/") for name in point.values)]
    if not trained or not trained[-1].step:
        return None
    last = trained[-1]
    return _Pace(
        update=last.items / last.step / result.cost.items_per_second,
        evaluation=max(0.0, points[-1].time - last.time),
    )
