"""Is the difference between two encodings more than chance: pairs by seed, t intervals, Holm's correction.

A difference is that of one score and the baseline's of the same seed, at the same metric and extent, which
takes away what weights and data order do to both. Holm's correction (Holm 1979, "A simple sequentially
rejective multiple test procedure") is over all that are compared with the baseline at one metric and extent
of a table.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pebench.errors import unknown
from pebench.leaderboard.collect import PLACE, Collection
from pebench.leaderboard.groups import Group
from pebench.leaderboard.statistics import half_width

if TYPE_CHECKING:
    import numpy
    import pandas
    from numpy.typing import ArrayLike


class Paired(NamedTuple):
    """What pairs of scores say; NaN where they say nothing.

    Attributes:
        mean: of the differences. half_width: of its 95 % t interval. p: of the two-sided paired t test.
    """

    mean: numpy.ndarray[Any, Any]
    half_width: numpy.ndarray[Any, Any]
    p: numpy.ndarray[Any, Any]


def paired(mean: ArrayLike, deviation: ArrayLike, count: ArrayLike) -> Paired:
    """The paired t test, from the summaries of differences.

    Args:
        mean, deviation, count: of each sample of differences; the deviation with n − 1 in the denominator.

    Returns:
        Arrays of their shape. One pair has no interval and no p. Differences that are all the same have no
        p either: a t test needs a spread, and three equal wins are no certainty. Where there is no
        difference at all p is 1.
    """
    import numpy
    from scipy import stats

    mean, deviation, count = (numpy.asarray(each, dtype=float) for each in (mean, deviation, count))
    # Differences of equal numbers are equal only up to the last digits.
    constant = deviation <= 1e-12 * numpy.abs(mean)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.abs(mean) / (deviation / numpy.sqrt(count))
    p = 2.0 * stats.t.sf(t, numpy.where(count > 1, count - 1, numpy.nan))
    p = numpy.where(constant, numpy.where((mean == 0) & (count > 1), 1.0, numpy.nan), p)
    return Paired(mean, half_width(deviation, count), p)


def holm(p: ArrayLike) -> numpy.ndarray[Any, Any]:
    """Holm-corrected p of one family of tests; NaN stays NaN and is no member of it."""
    import numpy
    from statsmodels.stats.multitest import multipletests

    p = numpy.asarray(p, dtype=float)
    corrected = numpy.full(p.shape, numpy.nan)
    known = ~numpy.isnan(p)
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected


def baselines(collection: Collection, baseline: str | None) -> dict[str, Group]:
    """The group that each group is compared with, by the group's key; those without one are not there.

    It is the baseline's group of the same other settings, or its only group of the same table.

    Args:
        collection: the sweep. baseline: a label or a name of an encoding.

    Raises:
        UserError: no encoding of the sweep is called so.
    """
    if baseline is None:
        return {}
    groups = collection.groups.values()
    own = [g for g in groups if g.encoding == baseline] or [g for g in groups if g.encoding_name == baseline]
    if not own:
        raise unknown("encoding", baseline, {g.encoding for g in groups}, f"sweep '{collection.sweep.name}'")
    found = {}
    for group in groups:
        there = [each for each in own if each.table == group.table]
        alike = [each for each in there if each.settings == group.settings]
        if group in own:
            found[group.key] = group
        elif len(alike or there) == 1:
            (found[group.key],) = alike or there
    return found


def differences(collection: Collection, rows: pandas.DataFrame, baseline: str | None) -> pandas.DataFrame:
    """The paired difference of every row to the baseline in its default extrapolation.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
        baseline: see `baselines`.

    Returns:
        A frame with the index of `rows` and the columns baseline, difference, difference_low,
        difference_high, pairs, p and p_holm; NaN unless every seed of both has a score.
    """
    partners = baselines(collection, baseline)
    scores = collection.scores.merge(_partner_places(rows, partners), on=["group", *PLACE])
    base = collection.scores[["group", "seed", *PLACE, "value"]]
    pairs = scores.merge(
        base,
        left_on=["partner", "seed", "metric", "extent", "partner_extrapolation"],
        right_on=["group", "seed", *PLACE],
        suffixes=("", "_base"),
    )
    pairs["difference"] = pairs["value"] - pairs["value_base"]
    found = (
        pairs.groupby(["group", *PLACE], sort=False)["difference"].agg(["mean", "std", "count"]).reset_index()
    )
    joined = rows[["group", *PLACE, "seeds", "expected"]].merge(found, on=["group", *PLACE], how="left")
    joined.index = rows.index
    joined["baseline"] = [
        partners[key].label if key in partners and not same else ""
        for key, same in zip(rows["group"], _is_baseline(rows, partners), strict=True)
    ]
    complete = (joined["seeds"] == joined["expected"]) & (joined["count"] == joined["expected"])
    joined.loc[~complete | (joined["baseline"] == ""), ["mean", "std", "count"]] = float("nan")
    told = paired(joined["mean"], joined["std"], joined["count"])
    joined["difference"], joined["p"] = told.mean, told.p
    joined["difference_low"], joined["difference_high"] = (
        told.mean - told.half_width,
        told.mean + told.half_width,
    )
    joined["pairs"] = joined["count"].fillna(0).astype(int)
    joined["p_holm"] = _corrected(collection, rows, joined["p"])
    columns = ["baseline", "difference", "difference_low", "difference_high", "pairs", "p", "p_holm"]
    return joined[columns]


def ranks(collection: Collection, rows: pandas.DataFrame) -> list[int | None]:
    """The rank of every row among those of its table at the same metric and extent.

    It is one more than the number of rows whose whole interval is better, so that rows whose intervals
    overlap with that of the best share the first rank. A row without an interval has no rank.

    Args:
        collection: the sweep. rows: see `pebench.leaderboard.summary.summarise`.
    """
    import numpy

    found: list[int | None] = [None] * len(rows)
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    for (task, *_), metric, members in _families(collection, rows):
        known = numpy.array([number for number in members if not numpy.isnan(low[number])], dtype=int)
        if not known.size:
            continue
        if collection.metrics[task][metric].higher_is_better:
            ahead, worst = numpy.sort(-low[known]), -high[known]
        else:
            ahead, worst = numpy.sort(high[known]), low[known]
        for number, place in zip(known, numpy.searchsorted(ahead, worst, side="left"), strict=True):
            found[number] = int(place) + 1
    return found


def _partner_places(rows: pandas.DataFrame, partners: Mapping[str, Group]) -> pandas.DataFrame:
    """The places of the rows that have a partner, with the partner's group and extrapolation."""
    import pandas

    places = [
        (key, metric, extent, extrapolation, partners[key].key, partners[key].default or "")
        for key, metric, extent, extrapolation in rows[["group", *PLACE]].itertuples(index=False, name=None)
        if key in partners
    ]
    frame = pandas.DataFrame(places, columns=["group", *PLACE, "partner", "partner_extrapolation"])
    return frame if places else frame.astype("object")


def _is_baseline(rows: pandas.DataFrame, partners: Mapping[str, Group]) -> Iterator[bool]:
    """Whether each row is that which the others are compared with."""
    for key, extrapolation in rows[["group", "extrapolation"]].itertuples(index=False, name=None):
        partner = partners.get(key)
        yield partner is not None and partner.key == key and extrapolation == (partner.default or "")


def _corrected(collection: Collection, rows: pandas.DataFrame, p: pandas.Series[float]) -> list[float]:
    values = p.to_numpy()
    corrected = [float("nan")] * len(rows)
    with _nothing_to_collect():
        for _, _, members in _families(collection, rows):
            for number, value in zip(members, holm(values[list(members)]), strict=True):
                corrected[number] = float(value)
    return corrected


def _families(
    collection: Collection, rows: pandas.DataFrame
) -> Iterator[tuple[tuple[str, ...], str, Sequence[int]]]:
    """Table, metric and row numbers of the rows that are compared: one table, one metric, one extent."""
    found: dict[tuple[tuple[str, ...], str, tuple[int, ...]], list[int]] = {}
    places = rows[["group", "metric", "extent"]].itertuples(index=False, name=None)
    for number, (key, metric, extent) in enumerate(places):
        if metric:
            found.setdefault((collection.groups[key].table, metric, extent), []).append(number)
    for (table, metric, _), members in found.items():
        yield table, metric, members


@contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """Sets all objects that there are aside from garbage collection.

    statsmodels collects garbage at every correction, which takes a second each beside ten thousand runs.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
