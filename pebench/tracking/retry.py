"""Retries requests to the tracking store; a lasting failure becomes one `UserError`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from pebench.errors import UserError
from pebench.tracking.address import without_secrets

Value = TypeVar("Value")

_PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED")


class StoreUnavailableError(UserError):
    """The tracking store did not answer, or with errors alone."""


class Retry:
    """Retries requests to the store at an address.

    Args:
        uri: its address, for the sentence.
        seconds: for how long a request is repeated.
    """

    def __init__(self, uri: str, seconds: float) -> None:
        self._store = f"the tracking store {without_secrets(uri)}"
        self._seconds = seconds

    def call(self, action: Callable[[], Value]) -> Value:
        """Calls an action until it succeeds. It must be idempotent: a request without an answer may have been
        carried out.

        Raises:
            StoreUnavailableError: the store did not answer in time.
            UserError: the store refuses.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(self._seconds),
            wait=wait_random_exponential(multiplier=0.3, max=5.0),
            reraise=True,
        )
        try:
            return retrying(action)
        except Exception as error:
            if _may_pass(error):
                raise StoreUnavailableError(
                    f"{self._store} does not answer ({_reason(error)}): nothing is lost, sync again later."
                ) from error
            if isinstance(error, MlflowException):
                raise UserError(f"{self._store} refuses: {_reason(error)}.") from error
            if isinstance(error, DatabaseError):
                raise UserError(f"{self._store} cannot be used ({_reason(error)}).") from error
            if isinstance(error, OSError) and error.strerror:
                raise StoreUnavailableError(
                    f"{self._store} takes no more ({error.strerror}): nothing is lost, sync again later."
                ) from error
            raise


def _may_pass(error: BaseException) -> bool:
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    if isinstance(error, MlflowException):
        return error.error_code in _PASSING or _of_a_race(str(error))
    # MLflow hands SQLAlchemy's errors on as they are when it opens a database: a lock, a full disk, a server
    # that does not listen.
    return isinstance(error, requests.RequestException | OperationalError)


def _of_a_race(sentence: str) -> bool:
    """Whether a server refuses a dataset because another request has just put it there: asked again, it finds
    it."""
    return (
        re.search(r"(UNIQUE constraint|UniqueViolation|Duplicate entry).*\bdatasets", sentence, re.DOTALL)
        is not None
    )


def _reason(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
