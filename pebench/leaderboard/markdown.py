"""`leaderboard.md`: the tables of a sweep to read, with what they lack and what the encodings cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import Collection, Group
from pebench.leaderboard.wide import Wide
from pebench.leaderboard.wording import cell_text, extent_headings, heading, notes
from pebench.scores import extent_name

if TYPE_CHECKING:
    import pandas

_TRACE = (
    "Every number can be followed to its runs: `leaderboard.csv` names them, `scores.csv` holds every score "
    "and `costs.csv` every cost."
)


def markdown(collection: Collection, tables: list[Wide], costs: pandas.DataFrame) -> str:
    """The text of the file.

    Args:
        collection: the sweep.
        tables: its tables.
        costs: see `pebench.leaderboard.costs.mean_costs`.
    """
    parts = [f"# {collection.sweep}", *(f"> **Warning:** {warning}" for warning in collection.warnings)]
    for table in tables:
        parts += [f"## {table.title}", _explained(table), _scores(table)]
        parts.append("\n".join(f"- {note}" for note in notes(collection, table)))
        parts += ["### Cost", _costs(costs, table)]
    return "\n\n".join(part for part in [*parts, _TRACE] if part) + "\n"


def _explained(table: Wide) -> str:
    if not table.metric:
        return heading(table)
    return (
        f"{heading(table)}: mean ± half the width of the 95 % t interval over the seeds, the best of a "
        "column in bold. A cell is empty where a seed is missing."
    )


def _scores(table: Wide) -> str:
    rows = []
    for line in table.lines:
        cells = [(extent, line.cells.get(extent)) for extent in table.extents]
        texts = [f"**{cell_text(c)}**" if table.is_best(e, c) else cell_text(c) for e, c in cells]
        rows.append([line.label, *texts])
    return _table(["encoding", *extent_headings(table)], rows)


def _costs(costs: pandas.DataFrame, table: Wide) -> str:
    """What each encoding costs, at the largest extent where it is evaluated."""
    groups = {line.group.key: line.group for line in table.lines}
    own = costs[costs["group"].isin(list(groups))]
    if own.empty:
        return ""
    item = str(own["item"].iloc[0])
    largest = table.extents[-1] if table.extents else ()
    at = f" at {extent_name(largest)}" if largest else ""
    headings = ["encoding", "parameters", "of the encoding", f"training {item}/s", f"evaluation {item}/s{at}"]
    training, evaluation = (own[own["phase"] == phase] for phase in ("training", "evaluation"))
    trained = {key: rest for key, *rest in _fields(training, "group", *_TRAINING)}
    rates = {tuple(place): rate for *place, rate in _fields(evaluation, *_PLACE, "items_per_second")}
    rows = [
        _cost(group, trained.get(key), rates.get((key, largest, group.default), math.nan))
        for key, group in groups.items()
    ]
    return _table([*headings, "training memory (MiB)", "kernels"], rows)


_PLACE = ("group", "extent", "extrapolation")
_TRAINING = ("parameters", "encoding_parameters", "items_per_second", "peak_memory_bytes", "kernels")


def _cost(group: Group, training: list[Any] | None, evaluation: float) -> list[str]:
    if training is None:
        return [group.label, *[""] * 6]
    parameters, of_encoding, rate, memory, kernels = training
    numbers = [parameters, of_encoding, rate, evaluation, memory / 2**20]
    return [group.label, *(_whole(value) for value in numbers), kernels]


def _fields(frame: pandas.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return frame[list(columns)].itertuples(index=False, name=None)


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right, padded so that it can be read as text."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in [headings, *rows]]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(headings))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def row(cells: list[str]) -> str:
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *others])} |"

    return "\n".join(row(cells) for cells in [lines[0], rule, *lines[1:]])
