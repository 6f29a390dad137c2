"""The mean of every group at every place: its interval, its rank, and its difference to the baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.baseline import differences
from pebench.leaderboard.collect import PLACE, Collection
from pebench.leaderboard.paired_test import half_width, mean_of
from pebench.leaderboard.ranks import ranks
from pebench.leaderboard.run_data import sample
from pebench.store.scores import positions

if TYPE_CHECKING:
    import pandas


def summarise(collection: Collection, baseline: str | None = None) -> pandas.DataFrame:
    """One row a group and place (metric, extent, extrapolation), sorted as `collection.groups` are.

    Columns: group, metric, extent, extrapolation, mean, low, high, half_width, seeds, finished, expected,
    uncertainty, text_share, measured_on, coverage, diverged, run_ids, rank and those of
    `pebench.leaderboard.baseline`. `seeds` counts the runs with a score here. Mean and interval are NaN
    unless every expected run has a score, for a mean of the rest would be one of those that happened to do
    well. A group without a score has the metrics and extents of its table, with no extrapolation.

    Args:
        collection: the sweep.
        baseline: the label of the encoding that the others are compared with, None to compare with none.
    """
    import pandas

    scores = collection.scores
    found = scores.groupby(["group", *PLACE], sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
    rows = pandas.concat([found, _unscored(collection, found)], ignore_index=True)
    rows = rows.merge(_counts(collection), on="group", how="left").rename(columns={"count": "seeds"})
    complete = rows["seeds"] == rows["expected"]
    rows["half_width"] = half_width(rows["std"], rows["seeds"].where(rows["seeds"] > 0))
    rows = _with_text(rows, collection)
    rows["low"], rows["high"] = rows["mean"] - rows["half_width"], rows["mean"] + rows["half_width"]
    rows.loc[~complete, ["mean", "low", "high", "half_width"]] = float("nan")
    columns = ["group", *PLACE, "mean", "low", "high", "half_width", "seeds", "finished", "expected"]
    columns += ["uncertainty", "text_share", "measured_on"]
    rows = _sorted(rows, collection)[[*columns, "coverage", "diverged", "run_ids"]]
    rows["rank"] = ranks(collection, rows)
    return pandas.concat([rows, differences(collection, rows, baseline)], axis=1)


def _with_text(rows: pandas.DataFrame, collection: Collection) -> pandas.DataFrame:
    """The rows with intervals over the text too, where every seed has scores by document; with what the
    intervals come from, the text's share of the variance, and what stands behind the scores."""
    import pandas

    widths, sources, shares, counts = [], [], [], []
    places = zip(rows["group"], *(rows[name] for name in PLACE), rows["half_width"], strict=True)
    for key, metric, extent, method, width in places:
        runs = collection.by_group[key]
        place = (metric, extent, method)
        own = sample(runs, key, place)
        found = None
        if len(own.by_unit) == len(own.scores) > 1 and not any(map(math.isnan, own.scores.values())):
            found = mean_of(own)
        with_text = found is not None and found.with_text
        widths.append(found.half_width if found is not None and with_text else width)
        sources.append("" if math.isnan(width) else f"seeds and {own.material}" if with_text else "seeds")
        shares.append(found.text_share if found is not None and with_text else math.nan)
        counts.append(next((count for run in runs if (count := run.counts(place))), {}))
    return rows.assign(half_width=widths, uncertainty=sources, text_share=shares).join(
        pandas.Series(counts, index=rows.index, name="measured_on", dtype=object)
    )


def _unscored(collection: Collection, found: pandas.DataFrame) -> pandas.DataFrame:
    """Empty rows for the groups without a score."""
    import pandas

    tables = {key: group.table for key, group in collection.groups.items()}
    places = found.assign(table=found["group"].map(tables))[["table", "metric", "extent"]].drop_duplicates()
    by_table: dict[tuple[str, ...], list[tuple[str, tuple[int, ...]]]] = {}
    for table, metric, extent in places.itertuples(index=False):
        by_table.setdefault(table, []).append((metric, extent))
    scored = set(found["group"])
    rows = [
        (key, metric, extent, "", float("nan"), float("nan"), 0)
        for key in collection.groups
        if key not in scored
        for metric, extent in by_table.get(tables[key], [("", ())])
    ]
    return pandas.DataFrame(rows, columns=list(found.columns)).astype(found.dtypes.to_dict())


def _counts(collection: Collection) -> pandas.DataFrame:
    """Runs by status of each group."""
    import pandas

    rows = []
    for key, runs in collection.by_group.items():
        finished = [run.run_id for run in runs if run.result is not None]
        diverged = sum(run.status == "diverged" for run in runs)
        coverage = f"{len(finished)}/{len(runs)}"
        rows.append((key, len(runs), len(finished), diverged, " ".join(finished), coverage))
    return pandas.DataFrame(
        rows, columns=["group", "expected", "finished", "diverged", "run_ids", "coverage"]
    )


def _sorted(rows: pandas.DataFrame, collection: Collection) -> pandas.DataFrame:
    groups = {key: number for number, key in enumerate(collection.groups)}
    metrics = {
        (task, metric): number
        for task, known in collection.metrics.items()
        for number, metric in enumerate(known)
    }

    def place(row: Any) -> tuple[Any, ...]:
        task = collection.groups[row.group].task
        metric = metrics.get((task, row.metric), len(metrics))
        first = row.extrapolation != collection.groups[row.group].default
        return (groups[row.group], metric, first, row.extrapolation, positions(row.extent), row.extent)

    order = sorted((place(row), row.Index) for row in rows.itertuples())
    return rows.loc[[index for _, index in order]].reset_index(drop=True)
