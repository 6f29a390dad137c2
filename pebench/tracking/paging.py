"""Results of a search in MLflow from all its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mlflow.store.entities import PagedList

Item = TypeVar("Item")


def all_pages(search: Callable[[str | None], PagedList[Item]]) -> Iterator[Item]:
    """Everything, in order.

    Args:
        search: gives the page of a token, None for the first.
    """
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
