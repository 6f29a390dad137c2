"""Where the tracking store is, and how it is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

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
    beside = runs.resolve().parent / "mlflow.db"
    uri = given or environment or address_of_file(beside)
    if _scheme(uri) not in DATABASES + SERVERS:
        kinds = join_or(f"{scheme}://…" for scheme in ("sqlite", "postgresql", "http"))
        raise UserError(f"'{without_secrets(uri)}' is not the address of a tracking store: write {kinds}.")
    return uri


def without_secrets(uri: str) -> str:
    """The address as it may be shown: without a user's name and password."""
    if database_file(uri) is not None:
        return uri
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else uri


def is_server(uri: str) -> bool:
    """Whether the address is that of a running server, not of a database that is opened from here."""
    return _scheme(uri) in SERVERS


def database_file(uri: str) -> Path | None:
    """The file of an SQLite store, None for every other."""
    if _scheme(uri) != "sqlite":
        return None
    # As SQLAlchemy reads it, where '#' begins nothing.
    return Path(unquote(uri.partition("://")[2].partition("?")[0].removeprefix("/"))).absolute()


def address_of_file(file: Path) -> str:
    """The address of an SQLite store in a file."""
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"


def experiment_key(experiment_id: str, created: int | None) -> str:
    """Tells an experiment from one of the same number in a store that was deleted and made again."""
    return f"{experiment_id}@{created}"


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts are kept: `mlartifacts` beside an SQLite store. None where the store decides."""
    file = database_file(uri)
    return file.parent / "mlartifacts" if file is not None else None


def connect(uri: str) -> MlflowClient:
    """A client of the store at an address, which need not answer yet."""
    from pebench.tracking.mlflow_internals import create_store

    create_store(uri)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _scheme(uri: str) -> str:
    return urlsplit(uri).scheme.partition("+")[0]
