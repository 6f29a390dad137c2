"""Charts of the page: lines by extent, costs, losses in training and maps.

All of them draw the rows whose labels the parameter `shown` of a view holds, which the page sets. A row has
the colour, the dashes and the marker that it has in the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pebench.flat_spec import setting_text
from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import cost_rows
from pebench.leaderboard.plots.curves import cluster
from pebench.leaderboard.plots.grid import families
from pebench.leaderboard.plots.style import WIDE_RANGE, Look
from pebench.leaderboard.report.blocks import Chart, Spec
from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.sections import tuned_rows
from pebench.leaderboard.tables import LeaderboardTable, Row
from pebench.leaderboard.wording import (
    difference_heading,
    difference_text,
    entry_text,
    metric_heading,
    number,
    p_text,
)
from pebench.scores import extent_name, positions
from pebench.store import Unreadable

DASHES: dict[str, list[float]] = {"-": [1, 0], "--": [6, 3], ":": [1.5, 3], "-.": [6, 3, 1.5, 3]}
"""Lengths drawn and left out, in pixels, by matplotlib's sign."""

MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0L-1,-.6Z",
}
"""Vega's symbols by matplotlib's sign."""

_MOST_POINTS = 150
"""Of one run's losses; more could not be told apart on a screen."""

_NARROW = 180
"""Pixels that a small multiple is wide at least."""


def ink(colour: str) -> str:
    """The colour of a line on the page, whose ink is black or white."""
    return "currentColor" if colour == "black" else colour


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
        explained="Rings are single seeds, bars 95 % t intervals. Point at a line for its values.",
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


def _amount(field: str, **rest: Any) -> Spec:
    """A channel of numbers."""
    return {"field": field, "type": "quantitative", **rest}


def _name(field: str, **rest: Any) -> Spec:
    """A channel of names."""
    return {"field": field, "type": "nominal", **rest}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _interval(low: str, high: str, middle: float, half_width: float) -> dict[str, float | None]:
    return {low: _known(middle - half_width), high: _known(middle + half_width)}


def _base(labels: Sequence[str]) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "params": [{"name": "shown", "value": list(labels)}],
        "height": 340,
    }


_SHOWN = {"filter": "indexof(shown, datum.label) >= 0"}
_NEAREST = {
    "name": "nearest",
    "select": {
        "type": "point",
        "fields": ["label"],
        "on": "pointerover",
        "clear": "pointerout",
        "nearest": True,
    },
}
_FAINT = {"condition": {"param": "nearest", "value": 1}, "value": 0.15}


def _by_label(labels: Sequence[str], narrowest: int = _NARROW, title: str = "") -> Spec:
    """A small picture of every line, side by side as far as each has `narrowest` pixels."""
    base = _base(labels)
    del base["height"]
    written = {"title": {"text": title, "anchor": "start", "fontWeight": "normal"}} if title else {}
    return {
        **base,
        **written,
        "transform": [_SHOWN],
        "facet": _name("label", sort=list(labels), header={"title": None, "labelAnchor": "start"}),
        "usermeta": {"narrowest": narrowest},
    }


def _look(labels: Sequence[str], looks: Mapping[str, Look]) -> dict[str, Spec]:
    """The channels of a line's colour, dashes and marker."""

    def channel(drawn: Sequence[Any]) -> Spec:
        return _name("label", scale={"domain": list(labels), "range": list(drawn)}, legend=None)

    own = [looks[label] for label in labels]
    return {
        "color": channel([ink(look.colour) for look in own]),
        "strokeDash": channel([DASHES[look.dash] for look in own]),
        "shape": channel([MARKERS[look.marker] for look in own]),
    }


def _tooltip(tips: Sequence[tuple[str, str]]) -> list[Spec]:
    return [_name(field, title=title) for field, title in tips]


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
    return _amount("x", scale={"type": "log", "base": 2, "nice": False, "padding": 12}, axis=axis)


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
    look = _look(labels, looks)
    x = _extents(table)
    y = _amount(
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
            "encoding": {"x": _amount("x")},
        },
        {
            "transform": [{"filter": f"isValid(datum.{low}) && isValid(datum.{high})"}],
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                "x": x,
                "y": {**y, "field": "bar_low"},
                "y2": {"field": "bar_high"},
                "color": look["color"],
                "opacity": _FAINT,
            },
        },
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {**line, "strokeDash": look["strokeDash"], "opacity": _FAINT},
        },
    ]
    if of_seeds:
        layers.append(
            {
                "data": {"name": "seeds"},
                "transform": [_SHOWN],
                "mark": {"type": "point", "shape": "circle", "size": 22, "strokeWidth": 1},
                "encoding": {"x": x, "y": {**y, "field": "value"}, "color": look["color"], "opacity": _FAINT},
            }
        )
    else:
        layers.insert(0, {"data": {"values": [{"y": 0}]}, "mark": {"type": "rule", "opacity": 0.6}})
        layers[0]["encoding"] = {"y": _amount("y")}
    layers.append(
        {
            "params": [_NEAREST],
            "mark": {"type": "point", "filled": True, "size": 55},
            "encoding": {**line, "shape": look["shape"], "opacity": _FAINT, "tooltip": _tooltip(tips)},
        }
    )
    return {
        **_base(labels),
        "data": {"name": "points"},
        "transform": [_SHOWN, known, *room],
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
    look = _look(labels, looks)
    x = _extents(table)
    x["axis"]["title"] = None
    y = _amount("mean", title=None, scale={"zero": False, "nice": False}, axis={"tickCount": 4})
    line = {"x": x, "y": y, "color": look["color"]}
    behind = [
        {"other": row.label, "x": positions(extent), "mean": row.at(extent).mean}
        for row in table.rows
        for extent in table.extents
        if row.at(extent).known
    ]
    return {
        **_by_label(labels, title=title),
        "data": {"name": "points"},
        "spec": {
            "height": 110,
            "layer": [
                {
                    "data": {"values": behind},
                    "transform": [{"filter": "indexof(shown, datum.other) >= 0"}],
                    "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.25, "color": "currentColor"},
                    "encoding": {"x": x, "y": y, "detail": _name("other")},
                },
                {
                    "mark": {"type": "line", "strokeWidth": 2.5},
                    "encoding": {**line, "strokeDash": look["strokeDash"]},
                },
                {
                    "mark": {"type": "point", "filled": True, "size": 45},
                    "encoding": {**line, "shape": look["shape"], "tooltip": _tooltip(tips)},
                },
            ],
        },
    }


def cost_against_quality(
    board: Board, table: LeaderboardTable, looks: Mapping[str, Look], anchor: str
) -> Chart | None:
    """Score at the largest extent by throughput in training; None where neither is known."""
    costs = {row.key: row for row in cost_rows(board.costs, table)}
    points: list[dict[str, Any]] = []
    for row in table.rows:
        entry, cost = row.at(table.largest), costs.get(row.group.key)
        if entry.known and cost is not None and math.isfinite(cost.training):
            own = {"label": row.label, "x": cost.training, "mean": entry.mean}
            points.append({**own, "text": entry_text(entry), "rate": f"{cost.training:,.0f}"})
    if not points:
        return None
    labels = [point["label"] for point in points]
    look = _look(labels, looks)
    item, metric = next(iter(costs.values())).item, metric_heading(table.metric, table.record)
    tips = [("label", "encoding"), ("text", table.metric), ("rate", f"{item}/s in training")]
    spec = {
        **_base(labels),
        "data": {"name": "points"},
        "transform": [_SHOWN],
        "mark": {"type": "point", "filled": True, "size": 110},
        "params": [{"name": "shown", "value": labels}, _NEAREST],
        "encoding": {
            "x": _amount(
                "x",
                title=f"{item} a second in training, further right is faster",
                scale={"zero": False, "padding": 12},
                axis={"grid": False, "tickCount": 5, "format": "~s"},
            ),
            "y": _amount(
                "mean",
                title=f"{metric} at {extent_name(table.largest or ())}",
                scale={"zero": False, "nice": False, "padding": 12},
            ),
            "color": look["color"],
            "shape": look["shape"],
            "opacity": _FAINT,
            "tooltip": _tooltip(tips),
        },
    }
    return Chart(
        name=f"{anchor}-cost-against-quality",
        title=f"{table.title}: cost against quality",
        views={"score": spec},
        datasets={"points": points},
        lines=labels,
    )


def training_losses(
    board: Board, table: LeaderboardTable, looks: Mapping[str, Look], anchor: str
) -> Chart | None:
    """The training loss of every run by step; None where no run has logged any."""
    rows, own = [], {row.group.key: row for row in table.rows if row.label == row.group.label}
    for key, row in own.items():
        for run in board.collection.by_group[key]:
            steps, losses = _losses(run)
            if steps:
                rows.append({"label": row.label, "seed": run.spec.seed, "step": steps, "loss": losses})
    if not rows:
        return None
    labels = list(dict.fromkeys(str(row["label"]) for row in rows))
    look = _look(labels, looks)
    tips = [("label", "encoding"), ("seed", "seed"), ("step", "step"), ("loss", "loss")]

    def spec(scale: str) -> Spec:
        x = _amount("step", axis={"grid": False, "tickCount": 6})
        span = {"type": scale, "zero": False, "nice": False}
        y = _amount("loss", title="training loss", scale=span, axis={"tickCount": 6})
        run = {"x": x, "y": y, "color": look["color"], "detail": _name("seed")}
        return {
            **_base(labels),
            "data": {"name": "losses"},
            "transform": [_SHOWN, {"flatten": ["step", "loss"]}],
            "layer": [
                {
                    "mark": {"type": "line", "strokeWidth": 1.2},
                    "encoding": {**run, "strokeDash": look["strokeDash"], "opacity": _FAINT},
                },
                {
                    "params": [_NEAREST],
                    "mark": {"type": "point", "size": 12, "opacity": 0},
                    "encoding": {**run, "tooltip": _tooltip(tips)},
                },
            ],
        }

    return Chart(
        name=f"{anchor}-training-loss",
        title=f"{table.title}: training loss",
        views={"loss": spec("linear"), "loss, logarithmic": spec("log")},
        datasets={"losses": rows},
        lines=labels,
        explained="One line a seed.",
    )


def sensitivity(
    board: Board, table: LeaderboardTable, looks: Mapping[str, Look], anchor: str
) -> Chart | None:
    """The scores of the trials by what was tried, a picture an encoding; None where nothing was tuned."""
    tuned = [(label, row) for label, row in tuned_rows(board, table) if label in looks]
    means: list[dict[str, Any]] = []
    for label, row in tuned:
        for place, candidate in enumerate(row.choice.candidates):
            tried = ", ".join(setting_text(value) for value in candidate.settings.values())
            mean, chosen = row.mean(place), place == row.chosen.candidate
            common = {"label": label, "tried": tried, "order": place, "chosen": chosen}
            if math.isfinite(mean):
                means.append({**common, "score": mean, "text": number(mean)})
    if not means:
        return None
    labels = list(dict.fromkeys(str(each["label"]) for each in means))
    paths = dict.fromkeys(path for _, row in tuned for path in row.chosen.settings)
    record = tuned[0][1].chosen.record
    x = _name("tried", sort={"field": "order"}, axis={"labelAngle": 0, "title": None})
    y = _amount("score", title=None, scale={"zero": False}, axis={"tickCount": 4})
    look = _look(labels, looks)
    tips = [("label", "encoding"), ("tried", ", ".join(paths)), ("text", tuned[0][1].choice.metric)]
    size = {"condition": {"test": "datum.chosen", "value": 160}, "value": 40}
    shared = {"x": x, "y": y, "color": look["color"]}
    better = "higher" if record.higher_is_better else "lower"
    title = f"{tuned[0][1].choice.metric} of the trials by {', '.join(paths)}, {better} is better"
    spec = {
        **_by_label(labels, title=title),
        "data": {"name": "means"},
        "resolve": {"scale": {"x": "independent"}},
        "spec": {
            "height": 110,
            "layer": [
                {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": shared},
                {
                    "mark": {"type": "point", "filled": True, "opacity": 1},
                    "encoding": {**shared, "size": size, "tooltip": _tooltip(tips)},
                },
            ],
        },
    }
    return Chart(
        name=f"{anchor}-sensitivity",
        title=f"{table.title}: what the tuned settings decide",
        views={"trials": spec},
        datasets={"means": means},
        lines=labels,
        explained="The large mark is what was chosen. tuning.csv has every trial.",
    )


def score_by_update(
    board: Board, table: LeaderboardTable, looks: Mapping[str, Look], anchor: str
) -> Chart | None:
    """The means by update, a view an extent; None where nothing was evaluated during training."""
    own = [curves for curves in board.curves if curves.table is table]
    if not own:
        return None
    labels = [label for label in own[0].means if any(curves.means[label] for curves in own)]
    look = _look(labels, looks)
    title = metric_heading(table.metric, table.record)
    tips = [("label", "encoding"), ("update", "update"), ("text", table.metric)]
    views, datasets = {}, {}
    for curves in own:
        name = extent_name(curves.extent)
        datasets[f"curves-{name}"] = [
            {"label": label, "update": update, "mean": mean, "text": number(mean)}
            for label, means in curves.means.items()
            for update, mean in means.items()
        ]
        x = _amount("update", axis={"grid": False, "tickCount": 6})
        y = _amount("mean", title=title, scale={"zero": False})
        line = {"x": x, "y": y, "color": look["color"]}
        views[f"at {name}"] = {
            **_base(labels),
            "data": {"name": f"curves-{name}"},
            "transform": [_SHOWN],
            "layer": [
                {"mark": {"type": "line"}, "encoding": {**line, "strokeDash": look["strokeDash"]}},
                {
                    "params": [_NEAREST],
                    "mark": {"type": "point", "size": 12},
                    "encoding": {**line, "tooltip": _tooltip(tips)},
                },
            ],
        }
    return Chart(
        name=f"{anchor}-score-by-update",
        title=f"{table.title}: score against updates",
        views=views,
        datasets=datasets,
        lines=labels,
        explained="Means over the seeds.",
    )


def _losses(run: RunData) -> tuple[list[int], list[float]]:
    """Steps and losses of a run, thinned out evenly, the last kept."""
    found: dict[int, float] = {}
    with suppress(Unreadable):
        for point in run.points():
            loss = point.values.get("train/loss")
            if loss is not None:
                found.setdefault(point.step, loss)
    every = max(1, -(-len(found) // _MOST_POINTS))
    kept = list(found.items())[::-1][::every][::-1]
    return [step for step, _ in kept], [float(f"{loss:.5g}") for _, loss in kept]


def maps(board: Board, table: LeaderboardTable, anchor: str) -> list[Chart]:
    """A map of every family of metrics, such as accuracy by depth and extent, for each encoding."""
    found = []
    for count, family in enumerate(families(board, table), 1):
        points = [
            {
                "label": label,
                "extent": extent_name(extent),
                "row": f"{value:g}",
                "value": mean,
                "text": number(mean),
            }
            for label, fields in family.means.items()
            for (value, extent), mean in fields.items()
        ]
        labels = list(family.means)
        place = {
            "x": {
                "field": "extent",
                "type": "ordinal",
                "sort": [extent_name(extent) for extent in table.extents],
                "title": None,
                "axis": {"labelAngle": 0},
            },
            "y": {
                "field": "row",
                "type": "ordinal",
                "sort": [f"{value:g}" for value in family.rows],
                "title": family.stem.axis,
            },
        }
        scheme = {"scheme": "viridis", "reverse": not family.higher_is_better}
        colour = _amount("value", scale={"domain": [*family.bounds], **scheme}, legend=None)
        tips = [("label", "encoding"), ("extent", "extent")]
        tips += [("row", family.stem.axis), ("text", family.stem.metric)]
        dark = {"test": _dark(family.bounds, family.higher_is_better), "value": "white"}
        spec = {
            **_by_label(labels, narrowest=300),
            "data": {"name": "points"},
            "spec": {
                "height": {"step": 22},
                "layer": [
                    {"mark": "rect", "encoding": {**place, "color": colour, "tooltip": _tooltip(tips)}},
                    {
                        "mark": {"type": "text", "fontSize": 10},
                        "encoding": {
                            **place,
                            "text": {"field": "text"},
                            "color": {"value": "black", "condition": dark},
                        },
                    },
                ],
            },
        }
        unit = f" ({family.unit})" if family.unit else ""
        found.append(
            Chart(
                name=f"{anchor}-map-{count}",
                title=f"{table.title}: {family.stem.metric}{unit} by {family.stem.axis} and extent",
                views={"each by itself": spec},
                datasets={"points": points},
                lines=labels,
            )
        )
    return found


def _dark(bounds: tuple[float, float], higher_is_better: bool) -> str:
    """Whether the field of a value is dark: the lower half of viridis is."""
    middle = (bounds[0] + bounds[1]) / 2
    return f"datum.value {'<' if higher_is_better else '>'} {middle:g}"
