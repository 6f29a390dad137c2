"""The table of runs as MLflow's pages show it: a shared view, kept as a tag of the experiment.

Without it the table has no scores in it, and everyone who opens it would have to choose the columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pebench.tracking.record import Headline

KEY = "pebench"
TAG = f"mlflow.sharedViewState.{KEY}"

TASKS = "pebench.tasks"

_FIRST = ["tags.`encoding`", "tags.`task`", "tags.`status`"]
_LAST = ["metrics.`train/loss`"]
_WIDTH = 150


def tasks(tags: Mapping[str, str], headline: Headline) -> str:
    """The value of `TASKS` for an experiment with these tags, after a run with this headline."""
    return ", ".join(sorted({*filter(None, tags.get(TASKS, "").split(", ")), headline.task}))


def view(tags: Mapping[str, str], headline: Headline) -> str:
    """The value of `TAG` for an experiment with these tags, after a run with this headline.

    The columns of scores are added to those that are there, since an experiment may hold several tasks; the
    rows are ordered by the first. The runs of an encoding, on a task where there are several, are one group,
    which shows their means.
    """
    grouped = ["task", "encoding"] if ", " in tasks(tags, headline) else ["encoding"]
    before: dict[str, Any] = json.loads(tags.get(TAG, "{}"))
    there = [name for name in before.get("selectedColumns", []) if name not in _FIRST + _LAST]
    scores = list(dict.fromkeys([*there, *(f"metrics.`{name}`" for name in headline.scores)]))
    state = {
        "selectedColumns": [*_FIRST, *scores, *_LAST],
        "columnOrder": scores,
        "columnWidths": dict.fromkeys(scores, _WIDTH),
        "orderByKey": before.get("orderByKey", f"metrics.`{headline.metric}`"),
        "orderByAsc": before.get("orderByAsc", not headline.higher_is_better),
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": name} for name in grouped],
        },
    }
    return json.dumps(state)


def page(experiment_id: str) -> str:
    """The address of that view, relative to the server's."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}&workflowType=machine_learning"
