"""Everything that pebench uses of MLflow beyond its public interface, tried with version 3.17.

Most of it concerns the SQLite store: its file is made at once, looked into without importing MLflow, and
written to in one transaction for many requests, each of which would wait for the disk alone. And the server
is taken as an application, since it knows no guard before it.
`tests/test_private_interfaces.py` says what breaks where MLflow changes any of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from pebench import atomic
from pebench.tracking.address import address_of_file, artifact_folder, database_file, experiment_key
from pebench.tracking.record import Measured

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

LogPoints = Callable[[str, Sequence[Measured]], None]
"""Given the id of a run and points of its metrics, none of them the last one of its metric, stores those that
are not there yet."""


ASSISTANT_OPENED = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
"""What a browser remembers where MLflow's pages have opened the pane of their assistant, once and for all."""


_PRAGMAS = (
    *("foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true"),
    # In KiB, where 2 MiB are usual: points land all over the indices of a large table, whose pages would be
    # thrown out and read again.
    "cache_size = -65536",
)


class Active(NamedTuple):
    """What is in a store, and not in its bin.

    Attributes:
        experiments: keys of the experiments, see `pebench.tracking.address.experiment_key`.
        runs: the store's ids of the runs.
    """

    experiments: frozenset[str]
    runs: frozenset[str]


def active_in_file(uri: str) -> Active | None:
    """What is in an SQLite store.

    Asked of the file itself, so that a pass with nothing to do need not import MLflow.

    Returns:
        None for another store, or where the file is not there or holds no store yet.
    """
    file = database_file(uri)
    if file is None or not file.exists():
        return None
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT experiment_id, creation_time FROM experiments WHERE lifecycle_stage = 'active'"
            ).fetchall()
            runs = connection.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'").fetchall()
        except sqlite3.DatabaseError:
            return None
    keys = frozenset(experiment_key(str(number), created) for number, created in rows)
    return Active(keys, frozenset(tracked for (tracked,) in runs))


def create_store(uri: str) -> None:
    """Makes the database of an SQLite store, unless it is there; does nothing for any other store.

    Several processes may call it at once, and any may be killed: the database appears under its name when it
    is complete. MLflow's own way, creating it on first use, fails when two do so at the same time.
    """
    file, artifacts = database_file(uri), artifact_folder(uri)
    if file is None or artifacts is None or file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        if file.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with atomic.replacing(file) as temporary:
            store = SqlAlchemyStore(address_of_file(temporary), artifacts.as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()


def server_application(uri: str, artifacts: str) -> Any:
    """MLflow's server, with its interface and its pages, as an ASGI application in this process.

    Args:
        uri: the database.
        artifacts: address of the folder of artifacts, empty where the store decides.
    """
    # It knows by this module that it is a server, and guards against other sites' scripts then.
    import uvicorn  # noqa: F401
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = uri
    if artifacts:
        os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = artifacts
    from mlflow.server.fastapi_app import app

    return app


@contextmanager
def transaction(client: MlflowClient) -> Iterator[LogPoints]:
    """Has all that the client writes within the block be there at its end, or nothing of it.

    MLflow opens a session for each request; here these become savepoints of one transaction, as SQLAlchemy's
    manual describes under "Joining a Session into an External Transaction". Others can read meanwhile, and
    wait to write. The client must be used by one thread alone.

    Args:
        client: of an SQLite store.

    Yields:
        A way to store points that is several times as fast as MLflow's, which makes an object of each row.

    Raises:
        MlflowException: of the passing kind, the database is locked, or the disk is full. Nothing is written.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.orm import Session

    store = client._tracking_client.store
    separate = store.ManagedSessionMaker
    try:
        # The driver's own way of beginning transactions knows no savepoints: they are begun by hand.
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for setting in _PRAGMAS:
                connection.exec_driver_sql(f"PRAGMA {setting}")

            @contextmanager
            def joined(read_only: bool = True) -> Iterator[Session]:
                with Session(bind=connection, join_transaction_mode="create_savepoint") as session:
                    yield session
                    session.commit()

            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                store.ManagedSessionMaker = joined
                yield partial(_insert, connection)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                driver = connection.connection.driver_connection
                # A full disk has ended the transaction already.
                if driver is not None and driver.in_transaction:
                    connection.exec_driver_sql("ROLLBACK")
                raise
            finally:
                store.ManagedSessionMaker = separate
    except OperationalError as error:
        raise MlflowException(str(error.orig), error_code=TEMPORARILY_UNAVAILABLE) from error


def _insert(connection: Connection, tracked: str, points: Sequence[Measured]) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import insert

    rows = [
        {
            "run_uuid": tracked,
            "key": point.metric,
            "value": point.value,
            "timestamp": point.time,
            "step": point.step,
            "is_nan": False,
        }
        for point in points
    ]
    if rows:
        # The key of the table is the whole row, so what is there already is left as it is.
        connection.execute(insert(SqlMetric).prefix_with("OR IGNORE"), rows)
