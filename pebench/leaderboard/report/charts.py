"""Charts of the page beside that of scores by extent: costs, losses in training, trials, updates and maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import cost_rows
from pebench.leaderboard.plots.grid import families
from pebench.leaderboard.plots.style import Look
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
from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.sections import tuned_rows
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import (
    entry_text,
    metric_heading,
    number,
)
from pebench.specification.flat_spec import setting_text
from pebench.store.record_files import Unreadable
from pebench.store.scores import extent_name

_MOST_POINTS = 150
"""Of one run's losses; more could not be told apart on a screen."""


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
    look = line_channels(labels, looks)
    item, metric = next(iter(costs.values())).item, metric_heading(table.metric, table.record)
    tips = [("label", "encoding"), ("text", table.metric), ("rate", f"{item}/s in training")]
    spec = {
        **common(labels),
        "data": {"name": "points"},
        "transform": [SHOWN],
        "mark": {"type": "point", "filled": True, "size": 110},
        "params": [{"name": "shown", "value": labels}, NEAREST],
        "encoding": {
            "x": quantity(
                "x",
                title=f"{item} a second in training, further right is faster",
                scale={"zero": False, "padding": 12},
                axis={"grid": False, "tickCount": 5, "format": "~s"},
            ),
            "y": quantity(
                "mean",
                title=f"{metric} at {extent_name(table.largest or ())}",
                scale={"zero": False, "nice": False, "padding": 12},
            ),
            "color": look["color"],
            "shape": look["shape"],
            "opacity": FAINT,
            "tooltip": tooltip(tips),
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
    look = line_channels(labels, looks)
    tips = [("label", "encoding"), ("seed", "seed"), ("step", "step"), ("loss", "loss")]

    def spec(scale: str) -> Spec:
        x = quantity("step", axis={"grid": False, "tickCount": 6})
        span = {"type": scale, "zero": False, "nice": False}
        y = quantity("loss", title="training loss", scale=span, axis={"tickCount": 6})
        run = {"x": x, "y": y, "color": look["color"], "detail": nominal("seed")}
        return {
            **common(labels),
            "data": {"name": "losses"},
            "transform": [SHOWN, {"flatten": ["step", "loss"]}],
            "layer": [
                {
                    "mark": {"type": "line", "strokeWidth": 1.2},
                    "encoding": {**run, "strokeDash": look["strokeDash"], "opacity": FAINT},
                },
                {
                    "params": [NEAREST],
                    "mark": {"type": "point", "size": 12, "opacity": 0},
                    "encoding": {**run, "tooltip": tooltip(tips)},
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
    x = nominal("tried", sort={"field": "order"}, axis={"labelAngle": 0, "title": None})
    y = quantity("score", title=None, scale={"zero": False}, axis={"tickCount": 4})
    look = line_channels(labels, looks)
    tips = [("label", "encoding"), ("tried", ", ".join(paths)), ("text", tuned[0][1].choice.metric)]
    size = {"condition": {"test": "datum.chosen", "value": 160}, "value": 40}
    shared = {"x": x, "y": y, "color": look["color"]}
    better = "higher" if record.higher_is_better else "lower"
    title = f"{tuned[0][1].choice.metric} of the trials by {', '.join(paths)}, {better} is better"
    spec = {
        **by_label(labels, title=title),
        "data": {"name": "means"},
        "resolve": {"scale": {"x": "independent"}},
        "spec": {
            "height": 110,
            "layer": [
                {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": shared},
                {
                    "mark": {"type": "point", "filled": True, "opacity": 1},
                    "encoding": {**shared, "size": size, "tooltip": tooltip(tips)},
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
    look = line_channels(labels, looks)
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
        x = quantity("update", axis={"grid": False, "tickCount": 6})
        y = quantity("mean", title=title, scale={"zero": False})
        line = {"x": x, "y": y, "color": look["color"]}
        views[f"at {name}"] = {
            **common(labels),
            "data": {"name": f"curves-{name}"},
            "transform": [SHOWN],
            "layer": [
                {"mark": {"type": "line"}, "encoding": {**line, "strokeDash": look["strokeDash"]}},
                {
                    "params": [NEAREST],
                    "mark": {"type": "point", "size": 12},
                    "encoding": {**line, "tooltip": tooltip(tips)},
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
    """A map of every family of metrics, such as accuracy by depth and extent, for each row."""
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
        colour = quantity("value", scale={"domain": [*family.bounds], **scheme}, legend=None)
        tips = [("label", "encoding"), ("extent", "extent")]
        tips += [("row", family.stem.axis), ("text", family.stem.metric)]
        dark = {"test": _dark(family.bounds, family.higher_is_better), "value": "white"}
        spec = {
            **by_label(labels, narrowest=300),
            "data": {"name": "points"},
            "spec": {
                "height": {"step": 22},
                "layer": [
                    {"mark": "rect", "encoding": {**place, "color": colour, "tooltip": tooltip(tips)}},
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
