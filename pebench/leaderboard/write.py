"""The files of a sweep's results. Written twice from the same runs they are the same to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pebench import atomic
from pebench.leaderboard import plots
from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.costs import mean_costs
from pebench.leaderboard.markdown import markdown
from pebench.leaderboard.statistics import summarise
from pebench.leaderboard.wide import widen
from pebench.scores import extent_name
from pebench.store import SweepRecord

if TYPE_CHECKING:
    import pandas

_FLOAT = "%.8g"


def write_leaderboard(runs: Path, sweep: SweepRecord, output: Path) -> tuple[Collection, pandas.DataFrame]:
    """Writes the tables and plots of a sweep into a folder of its name.

    Args:
        runs: the folder of runs. sweep: which of them. output: the folder of results.

    Returns:
        What they were made from, for printing.

    Raises:
        UserError: a run cannot be read.
    """
    collection = collect(runs, sweep)
    summary, costs = summarise(collection), mean_costs(collection)
    tables = widen(collection, summary)
    folder = output / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    frames = {
        "scores.csv": _scores(collection),
        "leaderboard.csv": _leaderboard(collection, summary),
        "costs.csv": _costs(collection, costs),
    }
    for name, frame in frames.items():
        text = frame.to_csv(index=False, float_format=_FLOAT, lineterminator="\n")
        atomic.write_text(folder / name, text)
    atomic.write_text(folder / "leaderboard.md", markdown(collection, tables, costs))
    plots.draw(tables, folder)
    return collection, summary


def _scores(collection: Collection) -> pandas.DataFrame:
    """One row a run, metric, extent and extrapolation."""
    order = {key: number for number, key in enumerate(collection.groups)}
    scores = collection.scores.assign(order=collection.scores["group"].map(order))
    frame = _described(scores.sort_values(["order", "seed"], kind="stable"), collection)
    return frame[[*_names(collection), "seed", "metric", "extent", "extrapolation", "value", "run_id"]]


def _leaderboard(collection: Collection, summary: pandas.DataFrame) -> pandas.DataFrame:
    """One row a group, metric, extent and extrapolation."""
    frame = _described(summary, collection)
    places = list(zip(frame["task"], frame["metric"], strict=True))
    known = [collection.metrics.get(task, {}).get(metric) for task, metric in places]
    frame["unit"] = [record.unit if record else "" for record in known]
    frame["better"] = [("higher" if r.higher_is_better else "lower") if r else "" for r in known]
    place = ["extrapolation", "metric", "unit", "better", "extent"]
    numbers = ["mean", "low", "high", "seeds", "coverage", "diverged", "run_ids"]
    return frame[[*_names(collection), *place, *numbers]]


def _costs(collection: Collection, costs: pandas.DataFrame) -> pandas.DataFrame:
    """One row a group and phase, and for evaluations a row an extent and extrapolation."""
    place = ["phase", "extent", "extrapolation"]
    model = ["parameters", "encoding_parameters"]
    measured = ["item", "items_per_second", "peak_memory_bytes", "kernels", "seeds"]
    return _described(costs, collection)[[*_names(collection), *place, *model, *measured]]


def _names(collection: Collection) -> list[str]:
    return ["task", "encoding", *collection.columns]


def _described(frame: pandas.DataFrame, collection: Collection) -> pandas.DataFrame:
    """With columns that say what a group is, in place of its key; extents as text."""
    groups = [collection.groups[key] for key in frame["group"]]
    described = frame.assign(
        task=[group.task for group in groups],
        encoding=[group.encoding for group in groups],
        extent=[extent_name(extent) for extent in frame["extent"]],
    )
    for column in collection.columns:
        described[column] = [group.settings.get(column, "") for group in groups]
    return described
