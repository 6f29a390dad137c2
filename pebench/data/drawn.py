"""Some of many examples, drawn once for all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import torch

from pebench.randomness import generator

Item = TypeVar("Item")

Choice = Literal["spread", "beginning"]
"""Which examples are evaluated where these are not all: some from all over, or the first."""


def where_limited(limit: str) -> Callable[[type, Any], Any]:
    """A validator of options that have a `choice`: where nothing limits the examples there is nothing to
    choose, and one and the same value stands for that.

    Args:
        limit: the option that says how many examples there are to be.
    """

    def settle(cls: type, value: Any) -> Any:
        if isinstance(value, dict) and value.get(limit) is None and value.get("choice", "spread") == "spread":
            return {**value, "choice": "beginning"}
        return value

    return settle


def drawn(items: Iterable[Item], count: int, name: str) -> list[Item]:
    """Some of the examples of a split, in its order, each as likely as any other and the same for every run.

    They are drawn as the examples pass (Vitter 1985, algorithm R), so that nothing has to know how many come.

    Args:
        items: of the split, in order.
        count: how many to draw; all where there are no more.
        name: of the split.
    """
    draws = generator(0, "examples", name, count)
    chosen: list[tuple[int, Item]] = []
    for number, item in enumerate(items):
        if number < count:
            chosen.append((number, item))
            continue
        place = int(torch.randint(number + 1, (), generator=draws))
        if place < count:
            chosen[place] = (number, item)
    return [item for _, item in sorted(chosen, key=lambda one: one[0])]
