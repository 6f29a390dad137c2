"""Private interfaces of MLflow and submitit that pebench uses: each test says what breaks without one."""

from __future__ import annotations

import contextlib
import inspect
import signal
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest
import submitit
from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import JobPaths

from pebench.submission import submitit_internals
from pebench.tracking import mlflow_internals
from pebench.tracking.address import connect

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

MLFLOW = f"MLflow {version('mlflow')} differs from what pebench/tracking/mlflow_internals.py expects: "
SUBMITIT = f"submitit {version('submitit')} differs from what submission/submitit_internals.py expects: "


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_store_is_made_from_an_address_and_a_place_for_artifacts() -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    expected = ["self", "db_uri", "default_artifact_root"]
    found = list(inspect.signature(SqlAlchemyStore.__init__).parameters)[:3]
    assert found == expected, f"{MLFLOW}the database of `pebench sync` cannot be made in advance."


def test_the_pages_remember_that_the_pane_of_the_assistant_was_opened() -> None:
    import mlflow.server

    key, _, number = mlflow_internals.ASSISTANT_OPENED.rpartition("_v")
    scripts = Path(mlflow.server.__file__).parent / "js" / "build" / "static" / "js"
    expected = f'{{key:"{key}",version:{number},'
    found = any(expected in script.read_text("utf-8") for script in scripts.glob("*.js"))
    assert found, f"{MLFLOW}the assistant's pane opens in the pages of `pebench ui`."


def test_a_client_opens_a_session_for_each_request(uri: str) -> None:
    store = connect(uri)._tracking_client.store
    assert callable(getattr(store, "ManagedSessionMaker", None)), (
        f"{MLFLOW}requests cannot share a transaction, and a sync waits for the disk at each of them."
    )
    assert hasattr(store, "engine"), f"{MLFLOW}a transaction cannot be begun on the store's own engine."


def test_requests_within_a_transaction_are_there_together_or_not_at_all(uri: str) -> None:
    client = connect(uri)
    with contextlib.suppress(ZeroDivisionError), mlflow_internals.transaction(client):
        client.create_experiment("lost")
        raise ZeroDivisionError
    assert client.get_experiment_by_name("lost") is None, f"{MLFLOW}requests leave the transaction."
    with mlflow_internals.transaction(client):
        client.create_experiment("kept")
    assert client.get_experiment_by_name("kept") is not None


def test_the_server_takes_its_store_from_these_variables() -> None:
    from mlflow.server import constants

    for name in ("BACKEND_STORE_URI_ENV_VAR", "ARTIFACT_ROOT_ENV_VAR"):
        assert isinstance(getattr(constants, name, None), str), (
            f"{MLFLOW}`pebench ui` cannot tell the server which store to show."
        )


def test_metrics_are_rows_of_these_columns(uri: str) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlMetric

    columns = {column.name for column in SqlMetric.__table__.columns}
    used = {"run_uuid", "key", "value", "timestamp", "step", "is_nan"}
    assert used <= columns, f"{MLFLOW}points cannot be written by rows: {sorted(used - columns)} are gone."
    keys = {column.name for column in SqlMetric.__table__.primary_key.columns}
    assert used == keys, f"{MLFLOW}a point that is written again is no longer recognised by its key."


def test_experiments_can_be_read_from_the_file_alone(uri: str) -> None:
    connect(uri)
    file = uri.removeprefix("sqlite:///")
    with sqlite3.connect(file) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(experiments)")}
    connection.close()
    assert {"experiment_id", "creation_time", "lifecycle_stage"} <= columns, (
        f"{MLFLOW}a sync with nothing to do imports MLflow all the same."
    )
    active = mlflow_internals.active_in_file(uri)
    assert active is not None, f"{MLFLOW}the tables are not found."
    assert active.experiments, f"{MLFLOW}the default experiment is not found."


def test_a_script_of_sbatch_can_be_had_without_submitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/bin/{name}")
    executor = submitit.SlurmExecutor(tmp_path, python="python3")
    executor.update_parameters(job_name="tried", time=5, array_parallelism=2)
    text = submitit_internals.script(executor, 3)
    assert "#SBATCH --array=0-2%2" in text, f"{SUBMITIT}a dry run does not show the array."
    assert "python3 -u -m submitit.core._submit" in text, f"{SUBMITIT}a dry run does not show the command."


def test_jobs_are_requeued_on_a_signal_that_submitit_names() -> None:
    assert isinstance(submitit_internals.REQUEUE_SIGNAL, signal.Signals), (
        f"{SUBMITIT}workers do not know which signal asks for a checkpoint."
    )


def test_a_partial_pickle_lies_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FOLDER": str(tmp_path), "EXECUTOR": "local", "LOCAL_JOB_ID": "5"}.items():
        monkeypatch.setenv(f"SUBMITIT_{name}", value)
    paths = JobEnvironment().paths
    assert isinstance(paths, JobPaths)
    source = inspect.getsource(submitit.core.utils.temporary_save_path)
    assert '".save_tmp"' in source or "'.save_tmp'" in source, (
        f"{SUBMITIT}the part of a pickle that a killed attempt left is not found, and stops a requeue."
    )
    assert submitit_internals.folder_of_job() == tmp_path
    assert submitit_internals.job_number() == "5"


@pytest.mark.parametrize(("outcome", "well"), [("success", True), ("error", False), (None, False)])
def test_how_a_job_ended_is_read_from_what_it_left(tmp_path: Path, outcome: str | None, well: bool) -> None:
    if outcome is not None:
        path = JobPaths(tmp_path, "5").result_pickle
        submitit.core.utils.cloudpickle_dump((outcome, "success"), path)
    assert submitit_internals.ended_well(tmp_path, "5") == well, (
        f"{SUBMITIT}a worker that an exception ended is taken for one that did its work, or the reverse."
    )
