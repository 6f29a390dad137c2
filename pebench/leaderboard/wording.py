"""How numbers, headings and gaps are put, the same in every table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pebench.leaderboard.collect import MISSING, Collection
from pebench.leaderboard.wide import Cell, Extent, Wide
from pebench.scores import extent_name


def number(value: float, like: float | None = None) -> str:
    """A score with about four digits.

    Args:
        value: the number.
        like: the number at whose last digit it shall end, by default itself.
    """
    size = abs(value if like is None else like)
    if size >= 1e6 or abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value:.{3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0}f}"


def cell_text(cell: Cell | None) -> str:
    """``2.371 ± 0.025``, ``2.371`` for one seed, ``diverged 1/2``, or nothing where no mean is known."""
    if cell is None:
        return ""
    if cell.diverged:
        return f"diverged {cell.diverged}/{cell.expected}"
    if not cell.known:
        return ""
    if math.isnan(cell.half_width):
        return number(cell.mean)
    return f"{number(cell.mean)} ± {number(cell.half_width, like=cell.mean)}"


def heading(table: Wide) -> str:
    """The metric, its unit and which way is up."""
    if not table.metric:
        return "Nothing has finished yet."
    direction = "higher" if table.record.higher_is_better else "lower"
    unit = f"{table.record.unit}, " if table.record.unit else ""
    return f"{table.metric} ({unit}{direction} is better) by extent"


def extent_headings(table: Wide) -> list[str]:
    """A heading a column, as ``128 (trained)``."""
    return [_extent_heading(table, extent) for extent in table.extents]


def _extent_heading(table: Wide, extent: Extent) -> str:
    return f"{extent_name(extent)} (trained)" if extent in table.trained else extent_name(extent)


def notes(collection: Collection, table: Wide) -> list[str]:
    """Sentences about what is missing from a table and what diverged; run ids stand in backquotes."""
    labels = {line.group.key: line.group.label for line in table.lines}
    found: dict[str, list[str]] = {key: [] for key in labels}
    for key, sentence in (*_missing(collection), *_diverged(collection), *_without_number(collection)):
        if key in found:
            found[key].append(f"{labels[key]}: {sentence}")
    return [sentence for sentences in found.values() for sentence in sentences]


def _missing(collection: Collection) -> Iterator[tuple[str, str]]:
    cells = collection.cells
    expected = cells.groupby("group").size()
    for key, seeds in cells[cells["status"] == MISSING].groupby("group")["seed"]:
        finished, names = expected[key] - len(seeds), ", ".join(str(seed) for seed in seeds)
        yield str(key), f"{finished} of {expected[key]} seeds finished, missing seed {names}."


def _diverged(collection: Collection) -> Iterator[tuple[str, str]]:
    columns = ["group", "run_id", "seed", "diverged_at"]
    cells = collection.cells[collection.cells["status"] == "diverged"][columns]
    for key, run_id, seed, step in cells.itertuples(index=False, name=None):
        yield key, f"seed {seed} diverged{'' if math.isnan(step) else f' at step {step:.0f}'} (`{run_id}`)."


def _without_number(collection: Collection) -> Iterator[tuple[str, str]]:
    columns = ["group", "run_id", "metric", "extent"]
    scores = collection.scores[collection.scores["value"].isna()][columns]
    for key, run_id, metric, extent in scores.itertuples(index=False, name=None):
        yield key, f"`{run_id}` gave no number for {metric} at {extent_name(extent)}."
