"""Ranks of the rows of a table at one metric and extent: by the mean, tied where no difference is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.collect import PLACE, Collection
from pebench.leaderboard.paired_test import Sample, by_unit, holm, paired_t
from pebench.leaderboard.run_data import sample
from pebench.leaderboard.uncertainty import LEVEL, parts

if TYPE_CHECKING:
    import numpy
    import pandas

Family = tuple[tuple[str, ...], str, tuple[int, ...]]
"""Table, metric and extent: rows that are compared with each other."""


def families(collection: Collection, rows: pandas.DataFrame) -> list[Family]:
    """The family of each row.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
    """
    places = rows[["group", "metric", "extent"]].itertuples(index=False, name=None)
    return [(collection.groups[key].table, metric, extent) for key, metric, extent in places]


def ranks(collection: Collection, rows: pandas.DataFrame) -> list[int | None]:
    """The rank of every row among those of its table at the same metric and extent.

    Rows are taken in the order of their means, the best first. A row shares the rank of those before it
    unless it is shown to be worse than one of them, by the paired t test with Holm's correction over all with
    which it would share; then its rank is its own place. So no row has a better rank than one with a better
    mean, however noisy it is, and two rows of one rank are not shown to differ. A row without an interval has
    no rank.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
    """
    found: list[int | None] = [None] * len(rows)
    members: dict[Family, list[int]] = {}
    known = rows["half_width"].notna()
    for number, family in enumerate(families(collection, rows)):
        if known.iloc[number]:
            members.setdefault(family, []).append(number)
    means = rows["mean"].to_numpy()
    places = list(rows[["group", *PLACE]].itertuples(index=False, name=None))
    for ((task, *_), metric, _), numbers in members.items():
        sign = -1 if collection.metrics[task][metric].higher_is_better else 1
        numbers.sort(key=lambda number: sign * means[number])
        samples = [
            sample(collection.by_group[key], key, (metric, extent, method))
            for key, _, extent, method in (places[number] for number in numbers)
        ]
        scores = _matrix([each.scores for each in samples])
        by_document = _by_document(samples)
        for number, rank in zip(numbers, tied_ranks(scores, by_document), strict=True):
            found[number] = rank
    return found


def _matrix(scores: Sequence[Mapping[int, float]]) -> numpy.ndarray[Any, Any]:
    """Scores by row and seed, NaN for a seed that a row was not asked for."""
    import numpy

    seeds = sorted({seed for own in scores for seed in own})
    return numpy.array([[own.get(seed, math.nan) for seed in seeds] for own in scores])


ByDocument = tuple["numpy.ndarray[Any, Any]", "numpy.ndarray[Any, Any]"]
"""(rows, seeds, units) what each document moves a score by, and the (units,) weights."""


def _by_document(samples: Sequence[Sample]) -> ByDocument | None:
    """None unless all rows have scores by document, of the same seeds and documents."""
    seeds = samples[0].scores.keys()
    if len(seeds) < 2 or any(each.scores.keys() != seeds for each in samples):
        return None
    found = by_unit([each.by_unit.get(seed) for each in samples for seed in sorted(seeds)])
    if found is None:
        return None
    influence, weights = found
    return influence.reshape(len(samples), len(seeds), -1), weights


def tied_ranks(scores: numpy.ndarray[Any, Any], by_document: ByDocument | None = None) -> list[int]:
    """The ranks of rows that are sorted by their means, the best first.

    Args:
        scores: (rows, seeds).
        by_document: see `ByDocument`; None where scores by document are not known.
    """
    import numpy

    count = len(scores)
    worse, better = numpy.tril_indices(count, -1)
    p = numpy.full((count, count), numpy.nan)
    told = paired_t(scores[worse] - scores[better], scores[worse])
    # Without a spread there is no p, but no noise either that would be a reason to share a rank.
    constant = numpy.isnan(told.p) & ~numpy.isnan(told.half_width)
    p[worse, better] = numpy.where(constant, 0.0, told.p)
    if by_document is not None:
        influence, weights = by_document
        for row in range(1, count):
            known = _p(scores[row] - scores[:row], influence[row] - influence[:row], weights)
            p[row, :row] = numpy.where(numpy.isnan(known), p[row, :row], known)
    first, ranks = 0, []
    for row in range(count):
        if (holm(p[row, first:row]) < LEVEL).any():
            first = row
        ranks.append(first + 1)
    return ranks


def _p(
    differences: numpy.ndarray[Any, Any], influence: numpy.ndarray[Any, Any], weights: numpy.ndarray[Any, Any]
) -> numpy.ndarray[Any, Any]:
    """Two-sided p of differences; see `pebench.leaderboard.uncertainty.parts`."""
    import numpy
    from scipy.special import stdtr

    found = parts(differences, influence, weights)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.abs(found.mean) / numpy.sqrt(found.seeds + found.text)
    p: numpy.ndarray[Any, Any] = 2.0 * stdtr(found.freedom, -t)
    return p
