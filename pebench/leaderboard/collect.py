"""The runs of a sweep, grouped, and their scores as one frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pebench.errors import first_of
from pebench.leaderboard.groups import Group, group
from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.tuning import TunedRow, by_group
from pebench.store.records import MetricRecord
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import Tuning

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Collection:
    """All that the tables, plots and pages of a sweep are made from.

    Attributes:
        sweep: its record.
        runs: the data of each of its runs, in the order of groups and seeds.
        groups: by key, in the order of tables and rows.
        columns: the names of the settings in which groups differ.
        metrics: how each metric is read, the headline first, by task.
        scores: one row a score, with the columns run_id, group, seed, metric, extent, extrapolation, value.
        warnings: sentences about what makes the numbers incomparable.
        unreadable: ids of damaged runs, and keys of damaged choices, that are left out.
        tuned: the choice behind each group whose settings were tuned, by key.
        unchosen: the labels of rows that have no group yet, for their settings are not chosen, and the names
            of their encodings.
    """

    sweep: SweepRecord
    runs: list[RunData]
    groups: dict[str, Group]
    columns: tuple[str, ...]
    metrics: dict[str, dict[str, MetricRecord]]
    scores: pandas.DataFrame
    warnings: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    tuned: Mapping[str, TunedRow] = field(default_factory=dict)
    unchosen: frozenset[str] = frozenset()

    @property
    def headlines(self) -> dict[str, str]:
        """The metric that each task is judged by."""
        return {task: next(iter(metrics), "") for task, metrics in self.metrics.items()}

    @cached_property
    def by_group(self) -> dict[str, list[RunData]]:
        """The runs of each group, by its key."""
        found: dict[str, list[RunData]] = {key: [] for key in self.groups}
        for run in self.runs:
            found[run.group].append(run)
        return found


def collect(
    sweep: SweepRecord,
    runs: Iterable[RunData],
    warnings: Iterable[str] = (),
    unreadable: Iterable[str] = (),
    tunings: Iterable[Tuning] = (),
) -> Collection:
    """Puts the runs of a sweep together.

    Args:
        sweep: its record.
        runs: the data of its runs, in any order.
        warnings: what is known beforehand to make the numbers incomparable or incomplete.
        unreadable: what is damaged and left out.
        tunings: the choices of its settings.
    """
    runs = sorted(runs, key=lambda run: (run.group, run.spec.seed, run.run_id))
    tunings = list(tunings)
    waiting = [tuning.choice for tuning in tunings if tuning.chosen is None]
    tuned = by_group(tunings, runs)
    groups, columns, coming = group(runs, tuned, waiting)
    order = {key: number for number, key in enumerate(groups)}
    runs.sort(key=lambda run: order[run.group])
    metrics: dict[str, dict[str, MetricRecord]] = defaultdict(dict)
    for run in runs:
        if run.result is not None:
            metrics[run.spec.task.name].update(run.result.metrics)
    return Collection(
        sweep=sweep,
        runs=runs,
        groups=groups,
        columns=columns,
        metrics=dict(metrics),
        scores=_scores(runs),
        warnings=(*warnings, *_different_data(runs, groups)),
        unreadable=tuple(unreadable),
        tuned=tuned,
        unchosen=coming | {one.candidates[0].cells[-1].encoding.name for one in waiting},
    )


PLACE = ["metric", "extent", "extrapolation"]
"""The columns that say what was measured."""


def _scores(runs: Iterable[RunData]) -> pandas.DataFrame:
    import pandas

    rows = [
        (run.run_id, run.group, run.spec.seed, *place, value)
        for run in runs
        for place, value in run.scores.items()
    ]
    frame = pandas.DataFrame(rows, columns=["run_id", "group", "seed", *PLACE, "value"])
    return frame.astype({"value": "float64"})


def rows_of(frame: pandas.DataFrame) -> Iterable[Any]:
    """The rows of a frame, with the columns as attributes."""
    return frame.itertuples(index=False)


def _different_data(runs: list[RunData], groups: Mapping[str, Group]) -> list[str]:
    """Names the data that was not the same in all runs of a table."""
    seen: dict[tuple[tuple[str, ...], str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for name, fingerprint in run.fingerprints.items():
            seen[groups[run.group].table, name][fingerprint].append(run.run_id)
    return [
        f"{' '.join(table)}: the data '{name}' was not the same in all runs, so that scores do not compare: "
        + "; ".join(f"{first_of(ids, 3)} read {digest[:12]}" for digest, ids in sorted(found.items()))
        + "."
        for (table, name), found in sorted(seen.items())
        if len(found) > 1
    ]
