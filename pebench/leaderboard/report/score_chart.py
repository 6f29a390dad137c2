"""The chart of scores by extent: scores, differences to the baseline, and each encoding by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots.curves import cluster
from pebench.leaderboard.plots.style import WIDE_RANGE, Look
from pebench.leaderboard.report.blocks import Chart, Spec
from pebench.leaderboard.report.vega_lite import (
    FAINT,
    NEAREST,
    SHOWN,
    by_label,
    common,
    line_channels,
    nominal,
    quantity,
    tooltip,
)
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.leaderboard.wording import (
    difference_heading,
    difference_text,
    entry_text,
    marks,
    metric_heading,
    number,
    p_text,
)
from pebench.store.scores import extent_name, positions


def score_by_extent(board: Board, table: LeaderboardTable, looks: Mapping[str, Look], anchor: str) -> Chart:
    """The scores by extent, their differences to the baseline, and every encoding by itself."""
    rows = [row for row in table.rows if any(row.at(extent).known for extent in table.extents)]
    points = [_point(row, extent) for row in rows for extent in table.extents if row.at(extent).known]
    seeds = [
        {"label": row.label, "x": positions(extent), "seed": seed, "value": value}
        for row in rows
        for extent in table.extents
        for seed, value in row.at(extent).seeds.items()
    ]
    labels = [row.label for row in rows]
    values = [point["mean"] for point in points] + [seed["value"] for seed in seeds]
    against = f"difference to {board.baseline}"
    title = metric_heading(table.metric, table.record)
    tips = [("label", "encoding"), ("extent", "extent"), ("text", table.metric), ("seeds", "seeds")]
    compared = any(point["difference"] is not None for point in points)
    if compared:
        tips += [("difference_text", against), ("p", "p")]
    score = _curves(table, looks, labels, title, tips, "mean", ("low", "high"))
    views: dict[str, Spec] = {}
    if values and min(values) > 0 and max(values) / min(values) > WIDE_RANGE and table.record.unit != "%":
        views["score, logarithmic"] = _curves(
            table, looks, labels, title, tips, "mean", ("low", "high"), scale="log"
        )
    views["score"] = score
    if compared:
        heading = f"{against} ({difference_heading(table).partition('(')[2]}"
        views[against] = _curves(
            table, looks, labels, heading, tips, "difference", ("difference_low", "difference_high")
        )
    if len(rows) > 1:
        views["each by itself"] = _multiples(table, looks, labels, title, tips)
    return Chart(
        name=f"{anchor}-score-by-extent",
        title=f"{table.title}: {table.metric} by extent",
        views=views,
        datasets={"points": points, "seeds": seeds},
        lines=labels,
        close_up=[row.label for row in cluster(table) or []],
        explained=f"{marks(table).capitalize()}. Point at a line for its values.",
    )


def _point(row: Row, extent: tuple[int, ...]) -> dict[str, Any]:
    entry = row.at(extent)
    own = [entry.mean, *entry.seeds.values()]
    return {
        "label": row.label,
        "x": positions(extent),
        "extent": extent_name(extent),
        "mean": entry.mean,
        "least": min(own),
        "most": max(own),
        **_interval("low", "high", entry.mean, entry.half_width),
        "difference": _known(entry.difference),
        **_interval("difference_low", "difference_high", entry.difference, entry.difference_half_width),
        "text": entry_text(entry),
        "difference_text": difference_text(entry),
        "p": p_text(entry.p_holm),
        "seeds": ", ".join(number(value, like=entry.mean) for value in entry.seeds.values()),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(low: str, high: str, middle: float, half_width: float) -> dict[str, float | None]:
    return {low: _known(middle - half_width), high: _known(middle + half_width)}


def _extents(table: LeaderboardTable) -> Spec:
    """The axis of extents, logarithmic, with the extents that were measured."""
    names = {str(positions(extent)): extent_name(extent) for extent in table.extents}
    spelled = ",".join(f"'{value}':'{name}'" for value, name in names.items())
    axis = {
        "values": [int(value) for value in names],
        "labelExpr": f"({{{spelled}}})[datum.value]",
        "title": f"extent ({table.extent_unit})",
        "grid": False,
    }
    return quantity("x", scale={"type": "log", "base": 2, "nice": False, "padding": 12}, axis=axis)


def _curves(
    table: LeaderboardTable,
    looks: Mapping[str, Look],
    labels: Sequence[str],
    title: str,
    tips: Sequence[tuple[str, str]],
    value: str,
    interval: tuple[str, str],
    scale: str = "linear",
) -> Spec:
    """Lines by extent of one of the values of a point, with its interval as far as it fits."""
    low, high = interval
    look = line_channels(labels, looks)
    x = _extents(table)
    y = quantity(
        value,
        title=title,
        scale={"type": scale, "zero": False, "nice": False, "padding": 6},
        axis={"tickCount": 6, **({"format": "~g"} if scale == "log" else {})},
    )
    of_seeds = value == "mean"
    least, most = ("least", "most") if of_seeds else (value, value)
    lowest, highest = _possible(table) if of_seeds else ("", "")
    # Intervals of few seeds may be many times as wide as all differences: they end where the picture does.
    ends = [{"op": "min", "field": least, "as": "lo"}, {"op": "max", "field": most, "as": "hi"}]
    room: list[Spec] = [
        {"joinaggregate": ends},
        {"calculate": "(datum.hi - datum.lo) * 0.3 + abs(datum.hi) * 1e-4", "as": "room"},
        {"calculate": f"max(datum.{low}, datum.lo - datum.room{lowest})", "as": "bar_low"},
        {"calculate": f"min(datum.{high}, datum.hi + datum.room{highest})", "as": "bar_high"},
    ]
    if scale == "log":
        room[1:] = [
            {"calculate": f"max(datum.{low}, datum.lo / 1.5)", "as": "bar_low"},
            {"calculate": f"min(datum.{high}, datum.hi * 1.5)", "as": "bar_high"},
        ]
    known = {"filter": f"isValid(datum.{value})"}
    line = {"x": x, "y": y, "color": look["color"]}
    layers: list[Spec] = [
        {
            "data": {"values": [{"x": positions(extent)} for extent in sorted(table.trained)]},
            "mark": {"type": "rule", "strokeDash": [2, 3], "opacity": 0.6},
            "encoding": {"x": quantity("x")},
        },
        {
            "transform": [{"filter": f"isValid(datum.{low}) && isValid(datum.{high})"}],
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                "x": x,
                "y": {**y, "field": "bar_low"},
                "y2": {"field": "bar_high"},
                "color": look["color"],
                "opacity": FAINT,
            },
        },
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {**line, "strokeDash": look["strokeDash"], "opacity": FAINT},
        },
    ]
    if of_seeds:
        layers.append(
            {
                "data": {"name": "seeds"},
                "transform": [SHOWN],
                "mark": {"type": "point", "shape": "circle", "size": 22, "strokeWidth": 1},
                "encoding": {"x": x, "y": {**y, "field": "value"}, "color": look["color"], "opacity": FAINT},
            }
        )
    else:
        layers.insert(0, {"data": {"values": [{"y": 0}]}, "mark": {"type": "rule", "opacity": 0.6}})
        layers[0]["encoding"] = {"y": quantity("y")}
    layers.append(
        {
            "params": [NEAREST],
            "mark": {"type": "point", "filled": True, "size": 55},
            "encoding": {**line, "shape": look["shape"], "opacity": FAINT, "tooltip": tooltip(tips)},
        }
    )
    return {
        **common(labels),
        "data": {"name": "points"},
        "transform": [SHOWN, known, *room],
        "layer": layers,
    }


def _possible(table: LeaderboardTable) -> tuple[str, str]:
    """What a score of a table may be at the least and at the most, as one argument more of Vega's `max` and
    `min` where it is known: intervals of few seeds go beyond, and would open room where nothing can stand."""
    if table.record.unit == "%":
        return ", 0", ", 100"
    values = [value for entry in table.entries for value in (entry.mean, *entry.seeds.values())]
    # A metric without a unit, of which nothing is known, may be a correlation.
    return ", 0" if table.record.unit and min(values, default=0.0) >= 0 else "", ""


def _multiples(
    table: LeaderboardTable,
    looks: Mapping[str, Look],
    labels: Sequence[str],
    title: str,
    tips: Sequence[tuple[str, str]],
) -> Spec:
    """A small picture of every line, with the others behind it."""
    look = line_channels(labels, looks)
    x = _extents(table)
    x["axis"]["title"] = None
    y = quantity("mean", title=None, scale={"zero": False, "nice": False}, axis={"tickCount": 4})
    line = {"x": x, "y": y, "color": look["color"]}
    behind = [
        {"other": row.label, "x": positions(extent), "mean": row.at(extent).mean}
        for row in table.rows
        for extent in table.extents
        if row.at(extent).known
    ]
    return {
        **by_label(labels, title=title),
        "data": {"name": "points"},
        "spec": {
            "height": 110,
            "layer": [
                {
                    "data": {"values": behind},
                    "transform": [{"filter": "indexof(shown, datum.other) >= 0"}],
                    "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.25, "color": "currentColor"},
                    "encoding": {"x": x, "y": y, "detail": nominal("other")},
                },
                {
                    "mark": {"type": "line", "strokeWidth": 2.5},
                    "encoding": {**line, "strokeDash": look["strokeDash"]},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 45},
                    "encoding": {**line, "shape": look["shape"], "tooltip": tooltip(tips)},
                },
            ],
        },
    }
