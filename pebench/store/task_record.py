"""Facts about the task of a run that its results are read with, recorded when the run begins.

Tables, plots and the tracking store take them from the run's provenance, so that none of them imports the
task.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from pebench.specification.run_spec import Frozen, RunSpec


class EvaluationData(Frozen):
    """Data and protocol of a task's evaluations, by which published figures are matched.

    Attributes:
        names: names that the data are known by, as ``wikitext-103-raw-v1``.
        paths: files or folders that they are read from.
        split: ``validation``, ``test`` or ``train``; None where there are no splits.
        whole: whether all of the split is evaluated on.
        model: name of the architecture; figures of another size are left out.
        suffix: end of its metrics' names that stands for a protocol which papers seldom name: ``-crop-1``.
        unsaid: that protocol in words, and what it is here: ``crop; ours is 1``.
    """

    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    split: str | None = None
    whole: bool = True
    model: str = ""
    suffix: str = ""
    unsaid: str = ""


class TaskRecord(Frozen):
    """The record of one run's task.

    Attributes:
        trained_extent: extent that its weights were trained at, in the unit of its evaluations' extents; None
            where they were trained by a task with another unit.
        evaluation_data: see `EvaluationData`; None where no published figure can be matched.
        vocabulary: fingerprint of what its tokens mean; None for a model without tokens.
    """

    trained_extent: tuple[int, ...] | None = None
    evaluation_data: EvaluationData | None = None
    vocabulary: str | None = None


def task_record(spec: RunSpec, provenance: Mapping[str, Any]) -> TaskRecord:
    """The record of a run's task.

    Args:
        spec: of the run.
        provenance: of the run; empty before it began.
    """
    try:
        return TaskRecord.model_validate(provenance["task"])
    except (KeyError, ValidationError):
        return _before_records(spec, provenance)


def _before_records(spec: RunSpec, provenance: Mapping[str, Any]) -> TaskRecord:
    """The record of a run that kept none. Such runs are of the tasks that came with pebench then, so their
    options may be read by name."""
    options = spec.task.options
    extent = options.get("extent")
    trained = None if extent is None else (extent,) if isinstance(extent, int) else tuple(extent)
    if spec.start is not None and not spec.train.steps:
        # An extent of one axis counts positions in most tasks, and so does that of the start.
        trained = spec.start.extent if len(spec.start.extent) == 1 else None
    data, split = options.get("data"), options.get("split")
    source = {"name": data, "path": data} if isinstance(data, str) else data if isinstance(data, dict) else {}
    known = [source.get(key) for key in ("name", "dataset", "configuration")]
    read = [source.get(key) for key in ("path", str(split)) if not source.get("dataset")]
    crop = options.get("crop")
    unsaid = {"crop": f"crop; ours is {f'{crop:g}' if crop else '224/256'}", "protocols": NON_OVERLAPPING}
    fingerprints = provenance.get("data")
    return TaskRecord(
        trained_extent=trained,
        evaluation_data=EvaluationData(
            names=tuple(PurePosixPath(name).name for name in known if name),
            paths=tuple(path for path in read if path),
            split=split,
            whole=all(options.get(limit) is None for limit in ("tokens", "images", "questions")),
            model=str(spec.model.get("name") or ""),
            suffix=f"-crop-{crop:g}" if crop else "",
            unsaid=next((said for option, said in unsaid.items() if option in options), ""),
        ),
        vocabulary=fingerprints.get("tokenizer") if isinstance(fingerprints, dict) else None,
    )


NON_OVERLAPPING = "protocol; ours is non-overlapping windows"
