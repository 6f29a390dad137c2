"""Where the tracking store is, and how it is opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pebench import atomic
from pebench.errors import UserError, join_or

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https", "databricks")


def tracking_uri(runs: Path, given: str | None = None) -> str:
    """The address of the tracking store.

    Args:
        runs: the folder of runs; without another wish the store is `mlflow.db` beside it.
        given: what the user asked for, before the variables PEBENCH_TRACKING_URI and MLFLOW_TRACKING_URI.

    Raises:
        UserError: it is not the address of a database or a server.
    """
    environment = os.environ.get("PEBENCH_TRACKING_URI") or os.environ.get("MLFLOW_TRACKING_URI")
    uri = given or environment or f"sqlite:///{runs.resolve().parent / 'mlflow.db'}"
    if _scheme(uri) not in DATABASES + SERVERS:
        kinds = join_or(f"{scheme}://…" for scheme in ("sqlite", "postgresql", "http"))
        raise UserError(f"'{without_secrets(uri)}' is not the address of a tracking store: write {kinds}.")
    return uri


def without_secrets(uri: str) -> str:
    """The address as it may be shown: without a user's name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else uri


def is_server(uri: str) -> bool:
    """Whether the address is that of a running server, not of a database that is opened from here."""
    return _scheme(uri) in SERVERS


def database_file(uri: str) -> Path | None:
    """The file of an SQLite store, None for every other."""
    if _scheme(uri) != "sqlite":
        return None
    return Path(urlsplit(uri).path.removeprefix("/")).absolute()


def experiments_of_file(uri: str) -> frozenset[str] | None:
    """What tells the active experiments of an SQLite store from those of every other, see `experiment_key`.

    Asked of the file itself, so that a pass with nothing to do need not import MLflow.

    Returns:
        None for another store, or where the file is not there or holds no store yet.
    """
    file = database_file(uri)
    if file is None or not file.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT experiment_id, creation_time FROM experiments WHERE lifecycle_stage = 'active'"
            ).fetchall()
        except sqlite3.DatabaseError:
            return None
    return frozenset(experiment_key(str(number), created) for number, created in rows)


def experiment_key(experiment_id: str, created: int | None) -> str:
    """Tells an experiment from one of the same number in a store that was deleted and made again."""
    return f"{experiment_id}@{created}"


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts are kept: `mlartifacts` beside an SQLite store. None where the store decides."""
    file = database_file(uri)
    return file.parent / "mlartifacts" if file is not None else None


def create_store(uri: str) -> None:
    """Makes the database of an SQLite store, unless it is there; does nothing for any other store.

    Several processes may call it at once, and any may be killed: the database appears under its name when it
    is complete. MLflow's own way, creating it on first use, fails when two do so at the same time.
    """
    file, artifacts = database_file(uri), artifact_folder(uri)
    if file is None or artifacts is None or file.exists():
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        if file.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with atomic.replacing(file) as temporary:
            store = SqlAlchemyStore(f"sqlite:///{temporary}", artifacts.as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()


def connect(uri: str) -> MlflowClient:
    """A client of the store at an address, which need not answer yet."""
    create_store(uri)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.partition("+")[0]
