"""Reads sweeps from a tracking store, where `pebench sync` has mirrored them.

The files of a run that are kept there are those of its folder, and the run of the sweep itself knows the
cells that nobody has begun and what was chosen, so the tables are the same to the last digit.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from pebench.errors import FEW, UserError, unknown
from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.tuning import reported, unchosen
from pebench.specification.run_spec import RunSpec
from pebench.store.example_scores import load
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import Tuning
from pebench.sweeping.recorded import name_of
from pebench.tracking.address import connect, database_file, tracking_uri, without_secrets
from pebench.tracking.paging import all_pages
from pebench.tracking.record import RUN_ID, SWEEP
from pebench.tracking.retry import Retry
from pebench.tracking.sweep_results import CONTENTS, SweepContents

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SPEC, _RESULT, _PROVENANCE, _POINTS = "spec.json", "result.json", "provenance.json", "metrics.jsonl"
_EXAMPLES = "examples.npz"
_CURVE = "curve.jsonl"


UNFINISHED = (
    "Read from a tracking store, which knows nothing of a sweep but its runs until one of them has finished "
    "and was mirrored: an encoding is expected to have every seed that its task has."
)


class StoredSweep(NamedTuple):
    """A sweep in a tracking store.

    Attributes:
        record: of the sweep.
        runs: the data of its runs.
        tunings: its choices.
        warnings: sentences about what is not known.
    """

    record: SweepRecord
    runs: list[RunData]
    tunings: tuple[Tuning, ...] = ()
    warnings: tuple[str, ...] = ()


def read_store(uri: str, wanted: Sequence[str]) -> list[StoredSweep]:
    """The sweeps of these names or files that a store holds, all if none is wanted, with their runs.

    Raises:
        UserError: the store does not answer, has no such sweep, or lacks a file of a run.
    """
    address = tracking_uri(Path("runs"), uri)
    file = database_file(address)
    if file is not None and not file.exists():
        raise UserError(f"there is no tracking store at {file}.")
    ask = Retry(address, 20.0).call
    client = ask(lambda: connect(address))
    by_sweep = ask(lambda: _by_sweep(client))
    if not by_sweep:
        raise UserError(f"{without_secrets(address)} holds no sweep: 'pebench sync' fills it.")
    contents = ask(lambda: _contents(client))
    trials = {f"{name}-trials" for name, found in contents.items() if found.record.trials}
    names = [name_of(text) for text in wanted] or sorted(by_sweep.keys() - trials)
    for name in names:
        if name not in by_sweep:
            raise unknown("sweep", name, by_sweep, listed=FEW)
    of_trials = [run for name in names for run in by_sweep.get(f"{name}-trials", ())]
    ended = {run.data.tags[RUN_ID] for run in of_trials if run.info.status == "FINISHED"}
    found = []
    for name in names:
        if name in contents:
            found.append(ask(partial(_sweep, client, contents[name], by_sweep[name], ended)))
        else:
            found.append(ask(partial(_unfinished_sweep, client, name, by_sweep[name])))
    return found


def _runs(client: MlflowClient, tag: str) -> list[Run]:
    """The runs of all experiments that have a tag."""
    experiments = all_pages(lambda token: client.search_experiments(page_token=token))
    ids = [experiment.experiment_id for experiment in experiments]
    condition = f"tags.`{tag}` != ''"
    return list(
        all_pages(lambda token: client.search_runs(ids, condition, max_results=1000, page_token=token))
    )


def _by_sweep(client: MlflowClient) -> dict[str, list[Run]]:
    """The mirrored runs by the name of each sweep that they are a part of."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in _runs(client, RUN_ID):
        for name in run.data.tags.get("sweep", "").split(", "):
            if name:
                found[name].append(run)
    return dict(found)


def _contents(client: MlflowClient) -> dict[str, SweepContents]:
    """What the runs of the sweeps themselves say, by the sweep's name."""
    found = {}
    for run in _runs(client, SWEEP):
        name = run.data.tags[SWEEP]
        with tempfile.TemporaryDirectory() as folder:
            text = _content(client, run, CONTENTS, Path(folder))
        if text is None:
            continue
        try:
            found[name] = SweepContents.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"{CONTENTS} of sweep '{name}' in the tracking store cannot be read: delete that run there, "
                "and sync again."
            ) from error
    return found


def _sweep(client: MlflowClient, said: SweepContents, runs: list[Run], ended: Collection[str]) -> StoredSweep:
    shown = reported(said.record)
    there = {run.data.tags[RUN_ID]: run for run in runs}
    data = []
    for run_id in shown.runs:
        if run_id in there:
            data.append(_read(client, there[run_id]))
        elif run_id in said.unfinished:
            data.append(RunData(run_id, said.unfinished[run_id], None))
    return StoredSweep(shown, data, said.tunings, tuple(unchosen(said.tunings, lambda trial: trial in ended)))


def _unfinished_sweep(client: MlflowClient, name: str, runs: list[Run]) -> StoredSweep:
    """A sweep of which no cell had finished when it was mirrored, or that was mirrored before sweeps had
    a run of their own."""
    data = [_read(client, run) for run in runs]
    data += _missing(data)
    ids = tuple(sorted(each.run_id for each in data))
    source = f"# Read from a tracking store, which does not keep the file of the sweep.\nname: {name}\n"
    return StoredSweep(SweepRecord(name=name, source=source, runs=ids), data, warnings=(UNFINISHED,))


def _read(client: MlflowClient, run: Run) -> RunData:
    tags = run.data.tags
    run_id = tags[RUN_ID]
    with tempfile.TemporaryDirectory() as folder:
        asked, said, came_from, _, kept, _ = (
            _content(client, run, name, Path(folder))
            for name in (_SPEC, _RESULT, _PROVENANCE, _POINTS, _EXAMPLES, _CURVE)
        )
        points = list(RunFolder(Path(folder)).points())
        curve = tuple(RunFolder(Path(folder)).curve())
    if asked is None:
        raise UserError(f"run {run_id} has no {_SPEC} in the tracking store: sync it again.")
    try:
        spec = RunSpec.model_validate_json(asked)
        result = Result.model_validate_json(said) if said is not None else None
        provenance = json.loads(came_from or b"{}")
        examples = load(kept) if kept is not None and result is not None else ()
    except (ValidationError, ValueError) as error:
        raise UserError(f"a file of run {run_id} in the tracking store cannot be read.") from error
    if spec.run_id != run_id:
        raise UserError(f"the specification of run {run_id} in the tracking store is that of {spec.run_id}.")
    if result is None and run.info.status == "FINISHED":
        raise UserError(
            f"run {run_id} has finished but has no {_RESULT} in the tracking store: sync it again."
        )
    failure = tags.get("mlflow.note.content", "") if tags.get("status") == "failed" else ""
    return RunData(run_id, spec, result, provenance, failure, examples, points=lambda: points, curve=curve)


def _content(client: MlflowClient, run: Run, name: str, folder: Path) -> bytes | None:
    """The content of an artifact, None where the run has none of that name."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_bytes()
    except (OSError, MlflowException):
        # Which of the two it is depends on the kind of store, and so does what it says.
        if name in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}:
            raise
        return None


def _missing(data: list[RunData]) -> list[RunData]:
    """The cells of seeds that a group lacks and another of its task has."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for each in data:
        seeds[each.spec.task.name].add(each.spec.seed)
    known = {each.run_id for each in data}
    first = {each.spec.group: each.spec for each in data}
    expected = (
        spec.model_copy(update={"seed": seed})
        for spec in first.values()
        for seed in sorted(seeds[spec.task.name])
    )
    return [RunData(spec.run_id, spec, None) for spec in expected if spec.run_id not in known]
