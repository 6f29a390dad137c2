"""What encodings cost beside their scores, as means over the finished seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import Collection
from pebench.leaderboard.wide import Wide

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class CostRow:
    """What one encoding costs; NaN where it was not measured.

    Attributes:
        key, label: of the group.
        item: what throughput counts.
        parameters: of the model. encoding_parameters: of the encoding in it.
        training: items a second. memory: bytes at the peak of training.
        evaluation: items a second at the largest extent of the table, by the default extrapolation.
        kernels: of attention in training.
    """

    key: str
    label: str
    item: str
    parameters: float
    encoding_parameters: float
    training: float
    memory: float
    evaluation: float
    kernels: str


def mean_costs(collection: Collection) -> pandas.DataFrame:
    """One row a group and phase, for evaluations one an extent and extrapolation, in the order of the tables.

    Columns: group, phase, extent, extrapolation, parameters, encoding_parameters, item, items_per_second,
    peak_memory_bytes, kernels, seeds.
    """
    grouped = collection.costs.groupby(["group", "phase", "extent", "extrapolation"], sort=False)
    return grouped.agg(
        parameters=("parameters", "mean"),
        encoding_parameters=("encoding_parameters", "mean"),
        item=("item", "first"),
        items_per_second=("items_per_second", "mean"),
        peak_memory_bytes=("peak_memory_bytes", "mean"),
        kernels=("kernels", _kernels),
        seeds=("run_id", "size"),
    ).reset_index()


def cost_rows(costs: pandas.DataFrame, table: Wide) -> list[CostRow]:
    """What the encodings of a table cost, in its order; those of which no run has finished are not there.

    Args:
        costs: see `mean_costs`. table: whose encodings.
    """
    groups = {line.group.key: line.group for line in table.lines}
    own = costs[costs["group"].isin(list(groups))]
    largest = table.extents[-1] if table.extents else ()
    rates: dict[tuple[Any, ...], float] = {}
    for key, phase, extent, method, rate in _fields(own, _PLACE):
        if phase == "evaluation":
            rates[key, extent, method] = rate
    trained = {key: rest for key, phase, *rest in _fields(own, _TRAINING) if phase == "training"}
    return [
        CostRow(
            key=key,
            label=group.label,
            item=item,
            parameters=parameters,
            encoding_parameters=of_encoding,
            training=rate,
            memory=memory,
            evaluation=rates.get((key, largest, group.default), math.nan),
            kernels=kernels,
        )
        for key, group in groups.items()
        if key in trained
        for item, parameters, of_encoding, rate, memory, kernels in [trained[key]]
    ]


_PLACE = ["group", "phase", "extent", "extrapolation", "items_per_second"]
_TRAINING = [
    "group",
    "phase",
    "item",
    "parameters",
    "encoding_parameters",
    "items_per_second",
    "peak_memory_bytes",
    "kernels",
]


def _fields(frame: pandas.DataFrame, columns: list[str]) -> Iterable[tuple[Any, ...]]:
    return frame[columns].itertuples(index=False, name=None)


def _kernels(values: Iterable[Sequence[str]]) -> str:
    """The attention kernels that any of the runs used."""
    return ", ".join(sorted({kernel for value in values for kernel in value}))
