"""What encodings cost beside their scores, as means over the finished seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pebench.leaderboard.collect import Collection

if TYPE_CHECKING:
    import pandas


def mean_costs(collection: Collection) -> pandas.DataFrame:
    """One row a group and phase, for evaluations one an extent and extrapolation, in the order of the tables.

    Columns: group, phase, extent, extrapolation, parameters, encoding_parameters, item, items_per_second,
    peak_memory_bytes, kernels, seeds.
    """
    order = {key: number for number, key in enumerate(collection.groups)}
    costs = collection.costs.assign(order=collection.costs["group"].map(order)).sort_values(
        "order", kind="stable"
    )
    grouped = costs.groupby(["group", "phase", "extent", "extrapolation"], sort=False)
    return grouped.agg(
        parameters=("parameters", "mean"),
        encoding_parameters=("encoding_parameters", "mean"),
        item=("item", "first"),
        items_per_second=("items_per_second", "mean"),
        peak_memory_bytes=("peak_memory_bytes", "mean"),
        kernels=("kernels", _kernels),
        seeds=("run_id", "size"),
    ).reset_index()


def _kernels(values: Iterable[Sequence[str]]) -> str:
    """The attention kernels that any of the runs used."""
    return ", ".join(sorted({kernel for value in values for kernel in value}))
