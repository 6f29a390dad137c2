"""Finished runs in MLflow's registry of models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pebench.errors import UserError
from pebench.store.run_folder import RunFolder
from pebench.tracking import sync_state
from pebench.tracking.address import connect, tracking_uri
from pebench.tracking.record import RUN_ID
from pebench.tracking.retry import Retry
from pebench.tracking.sync import sync

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_FILES = ("spec.json", "provenance.json", "result.json", "tokenizer.json", "model.safetensors", "plugins/*")
"""Files that `pebench.load` needs, and those that say where the numbers come from."""


class Registered(NamedTuple):
    """A version of a registered model.

    Attributes:
        name: of the model.
        version: its number, from 1.
        new: whether it was not there before.
    """

    name: str
    version: str
    new: bool


def register(runs: Path, folder: RunFolder, name: str | None, uri: str | None) -> Registered:
    """Makes a finished run the newest version of a registered model, unless it is a version of it already.

    The run is mirrored first. The version is a folder of runs that holds this one: downloaded, it is what
    ``pebench.load(run, runs=…)`` reads.

    Args:
        runs: the folder of runs.
        folder: of the run.
        name: of the model; None for the task's and the encoding's.
        uri: the tracking store, see `pebench.tracking.address.tracking_uri`.

    Raises:
        UserError: the run is not finished or cannot be mirrored, or the store refuses.
        StoreUnavailableError: the store does not answer.
    """
    from pebench.running.finished import require_weights

    require_weights(folder)
    spec = folder.spec()
    model = name or f"{spec.task.name}-{spec.encoding.name}"
    address = tracking_uri(runs, uri)
    problems = sync(runs, address).problems
    seen = sync_state.load(sync_state.state_file(runs, address)).runs.get(folder.run_id)
    if seen is None:
        raise UserError(f"{folder.run_id} could not be mirrored: {' '.join(problems)}")
    ask = Retry(address, 20.0).call
    client = ask(lambda: connect(address))
    known = ask(lambda: _version(client, model, folder.run_id))
    if known is not None:
        return Registered(model, known, new=False)
    for path in sorted(path for pattern in _FILES for path in folder.path.glob(pattern)):
        place = Path("model", folder.run_id, path.relative_to(folder.path)).parent
        ask(partial(client.log_artifact, seen.tracked, str(path), str(place)))
    return Registered(model, ask(lambda: _add_version(client, model, folder.run_id, seen.tracked)), new=True)


def _add_version(client: MlflowClient, model: str, run_id: str, tracked: str) -> str:
    """The number of the new version. Asked again after a request without an answer, it looks first."""
    if not client.search_registered_models(f"name = '{_quoted(model)}'"):
        client.create_registered_model(model)
    known = _version(client, model, run_id)
    if known is not None:
        return known
    source = f"{client.get_run(tracked).info.artifact_uri}/model"
    return str(client.create_model_version(model, source, run_id=tracked, tags={RUN_ID: run_id}).version)


def _version(client: MlflowClient, model: str, run_id: str) -> str | None:
    versions = client.search_model_versions(f"name = '{_quoted(model)}'")
    return next((str(version.version) for version in versions if version.tags.get(RUN_ID) == run_id), None)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
