"""The results of a sweep, computed once for every file, page and terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pebench.leaderboard.answers import Answer, answer
from pebench.leaderboard.claims import Claim
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.costs import mean_costs
from pebench.leaderboard.learning_curves import LearningCurves, learning_curves
from pebench.leaderboard.overall import OverallRow, overall
from pebench.leaderboard.published import Figure, Match, matches
from pebench.leaderboard.summary import summarise
from pebench.leaderboard.tables import LeaderboardTable, make_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas


@dataclass(frozen=True)
class Board:
    """A sweep's results.

    Attributes:
        collection: the runs.
        baseline: the label of the encoding that the others are compared with, None for none.
        summary: see `pebench.leaderboard.summary.summarise`.
        costs: see `pebench.leaderboard.costs.mean_costs`.
        tables: one a task.
        overall: over all tables; empty for a sweep of one table, which it would only repeat.
        published: the figures of others beside those of the sweep, None where nobody asked for them.
        curves: of each table, at the trained and at the largest extent; empty where nothing was evaluated
            during training.
        answers: to the claims about the sweep; empty where there are none.
    """

    collection: Collection
    baseline: str | None
    summary: pandas.DataFrame
    costs: pandas.DataFrame
    tables: list[LeaderboardTable]
    overall: list[OverallRow]
    published: list[Match] | None
    curves: list[LearningCurves]
    answers: list[Answer]


def make_board(
    collection: Collection,
    baseline: str | None = None,
    figures: Sequence[Figure] | None = None,
    claims: Sequence[Claim] = (),
) -> Board:
    """Computes the results of a sweep.

    Args:
        collection: the runs.
        baseline: the label of an encoding, by default the one that the sweep names.
        figures: of others, to be put beside those of the sweep.
        claims: about the sweep, to be answered.

    Raises:
        UserError: no encoding of the sweep is called like the baseline, or a claim is about something else.
    """
    baseline = baseline if baseline is not None else collection.sweep.baseline
    summary, costs = summarise(collection, baseline), mean_costs(collection)
    tables = make_tables(collection, summary)
    return Board(
        collection=collection,
        baseline=baseline,
        summary=summary,
        costs=costs,
        tables=tables,
        overall=overall(tables) if len(tables) > 1 else [],
        published=matches(collection, summary, figures) if figures is not None else None,
        curves=[curves for table in tables for curves in learning_curves(collection, table)],
        answers=answer(collection, claims),
    )
