"""A search in MLflow that has several pages is read to the end."""

from __future__ import annotations

import pytest
from mlflow.store.entities import PagedList

from pebench.tracking.paging import all_pages


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_every_page_is_read_once_and_in_order(count: int) -> None:
    asked = []

    def search(token: str | None) -> PagedList[int]:
        asked.append(token)
        start = int(token or 0)
        return PagedList(
            list(range(start, min(start + 2, count))), str(start + 2) if start + 2 < count else None
        )

    assert list(all_pages(search)) == list(range(count))
    assert len(asked) == len(set(asked)) == max(1, (count + 1) // 2)
