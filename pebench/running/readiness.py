"""A run's task with its data at hand, its start and its encoding: all that can be wrong before there is a
model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pebench.errors import UserError
from pebench.position_encoding import PositionEncoding
from pebench.pretrained.published import Published
from pebench.resolve import build_task, encoding_of
from pebench.running.warm_start import (
    StartMissing,
    check_vocabulary,
    describe_task,
    start_of_run,
    take_over_tokenizer,
)
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.store.task_record import TaskRecord
from pebench.task import AnyTask


class Ready(NamedTuple):
    """What a run begins with.

    Attributes:
        task: prepared. encoding: with its initial weights. start: see `start_of_run`.
        fingerprints: of the data, by name. record: of the task.
    """

    task: AnyTask
    encoding: PositionEncoding
    start: RunFolder | Published | None
    fingerprints: dict[str, str]
    record: TaskRecord


def get_ready(spec: RunSpec, runs: Path) -> Ready:
    """Reads the data of a run, or finds them in the cache.

    Args:
        spec: of the run. runs: the folder in which the run that it starts from lies.

    Raises:
        UserError: data, tokenizer or start cannot be had, do not go together or do not suffice.
    """
    task = build_task(spec)
    start = start_of_run(runs, spec.start)
    take_over_tokenizer(task, start)
    fingerprints = task.prepare()
    encoding = encoding_of(spec, task)
    if encoding.fits:
        task.hold_out()
    record = describe_task(task, fingerprints, start)
    check_vocabulary(start, record.vocabulary)
    return Ready(task, encoding, start, fingerprints, record)


def require_ready(specs: Iterable[RunSpec], runs: Path) -> None:
    """Refuses runs whose data this process would find wanting once it carries them out, before anything is on
    record. Each task is looked at once.

    What starts from a run that is not finished yet is passed over. So is what is no mistake of the user: the
    log of a run will hold all of it.

    Args:
        specs: of the runs. runs: the folder of the runs.

    Raises:
        UserError: see `get_ready`; or nothing can be written below the folder.
    """
    _require_writable(runs)
    seen: set[tuple[str, bool, str]] = set()
    for spec in specs:
        # Starts of one label have one tokenizer.
        asked = (spec.task.model_dump_json(), spec.train.steps > 0, spec.start.label if spec.start else "")
        if asked in seen:
            continue
        try:
            get_ready(spec, runs)
        except StartMissing:
            continue
        except UserError:
            raise
        except Exception:
            pass
        seen.add(asked)


def _require_writable(runs: Path) -> None:
    """Reading may take minutes, after which nobody wants to be told this."""
    there = next(folder for folder in (runs, *runs.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"cannot write {runs}: {there} is no folder.")
    if not os.access(there, os.W_OK):
        raise UserError(f"cannot write {runs}: {there} may not be written.")
