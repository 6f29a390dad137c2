"""Costs of encodings, as means over the finished seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import Collection, rows_of
from pebench.leaderboard.tables import LeaderboardTable

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class CostRow:
    """Costs of one encoding; NaN where one was not measured.

    Attributes:
        key: of the group.
        label: of the group.
        item: what throughput counts.
        parameters: number in the model.
        encoding_parameters: number in its encoding.
        training: items a second.
        memory: bytes at the peak of training.
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
    import pandas

    rows: list[tuple[Any, ...]] = []
    for run in collection.runs:
        if run.result is not None:
            cost = run.result.cost
            of_model = (cost.parameters, cost.encoding_parameters, cost.item)
            spent = (cost.items_per_second, cost.peak_memory_bytes, cost.kernels)
            rows.append((run.group, "training", run.task.trained_extent or (), "", *of_model, *spent))
            for part in cost.evaluations:
                spent = (part.items_per_second, part.peak_memory_bytes, part.kernels)
                rows.append((run.group, "evaluation", part.extent, part.extrapolation, *of_model, *spent))
    place = ["group", "phase", "extent", "extrapolation"]
    columns = [
        "parameters",
        "encoding_parameters",
        "item",
        "items_per_second",
        "peak_memory_bytes",
        "kernels",
    ]
    frame = pandas.DataFrame(rows, columns=[*place, *columns])
    frame = frame.astype({"items_per_second": "float64", "peak_memory_bytes": "float64"})
    grouped = frame.groupby(place, sort=False)
    return grouped.agg(
        parameters=("parameters", "mean"),
        encoding_parameters=("encoding_parameters", "mean"),
        item=("item", "first"),
        items_per_second=("items_per_second", "mean"),
        peak_memory_bytes=("peak_memory_bytes", "mean"),
        kernels=("kernels", _kernels),
        seeds=("kernels", "size"),
    ).reset_index()


def not_alone(collection: Collection, table: LeaderboardTable) -> str:
    """A sentence where runs of a table shared their GPU while they trained; else empty.

    It counts those that do not tell, too, which may have shared theirs as well.
    """
    counts = [
        run.result.cost.beside
        for row in {row.group.key: row for row in table.rows}.values()
        for run in collection.by_group[row.group.key]
        if run.result is not None
    ]
    shared = [count for count in counts if count]
    if not shared:
        return ""
    unknown = counts.count(None)
    silent = f", and {unknown} {'do' if unknown > 1 else 'does'} not tell" if unknown else ""
    return (
        f"{len(shared)} of {len(counts)} runs shared their GPU with up to {max(shared)} other processes"
        f"{silent}: their speed compares nothing."
    )


def cost_rows(costs: pandas.DataFrame, table: LeaderboardTable) -> list[CostRow]:
    """The costs of the encodings of a table, in its order; those without a finished run are not there.

    Args:
        costs: see `mean_costs`.
        table: whose encodings.
    """
    groups = {row.group.key: row.group for row in table.rows}
    trained, rates = {}, {}
    for cost in rows_of(costs[costs["group"].isin(list(groups))]):
        if cost.phase == "training":
            trained[cost.group] = cost
        elif (cost.extent, cost.extrapolation) == (table.largest, groups[cost.group].default):
            rates[cost.group] = cost.items_per_second
    return [
        CostRow(
            key=key,
            label=group.label,
            item=trained[key].item,
            parameters=trained[key].parameters,
            encoding_parameters=trained[key].encoding_parameters,
            training=trained[key].items_per_second,
            memory=trained[key].peak_memory_bytes,
            evaluation=rates.get(key, math.nan),
            kernels=trained[key].kernels,
        )
        for key, group in groups.items()
        if key in trained
    ]


def _kernels(values: Iterable[Sequence[str]]) -> str:
    """The attention kernels that any of the runs used."""
    return ", ".join(sorted({kernel for value in values for kernel in value}))
