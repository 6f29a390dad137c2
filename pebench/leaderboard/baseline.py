"""The paired difference of every row of a leaderboard to the baseline encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pebench.errors import unknown
from pebench.leaderboard.collect import PLACE, Collection
from pebench.leaderboard.groups import Group
from pebench.leaderboard.paired_test import NOTHING, paired_tests
from pebench.leaderboard.ranks import families
from pebench.leaderboard.run_data import sample

if TYPE_CHECKING:
    import pandas

COLUMNS = [
    "baseline",
    "difference",
    "difference_half_width",
    "difference_low",
    "difference_high",
    "pairs",
    "p",
    "p_holm",
]


def differences(collection: Collection, rows: pandas.DataFrame, baseline: str | None) -> pandas.DataFrame:
    """The paired difference of every row to the baseline in its default extrapolation.

    A family of Holm's correction is all that is compared with the baseline at one metric and extent of a
    table.

    Args:
        collection: the sweep.
        rows: see `pebench.leaderboard.summary.summarise`.
        baseline: see `baselines`.

    Returns:
        A frame with the index of `rows` and the columns `COLUMNS`: `baseline` is empty in the baseline's own
        rows, and numbers are NaN where a seed has no score.
    """
    import pandas

    partners = baselines(collection, baseline)
    runs = collection.by_group
    pairs, places = [], rows[["group", *PLACE]].itertuples(index=False, name=None)
    for key, metric, extent, method in places:
        base = partners.get(key)
        pairs.append(
            (
                sample(runs[key], key, (metric, extent, method)),
                sample(runs[base.key], base.key, (metric, extent, base.default or "")) if base else NOTHING,
            )
        )
    tests = paired_tests(pairs, families(collection, rows))
    return pandas.DataFrame(
        [
            (
                partners[key].label if key in partners and not test.identical else "",
                test.difference,
                test.half_width,
                test.difference - test.half_width,
                test.difference + test.half_width,
                test.pairs,
                test.p,
                test.p_holm,
            )
            for key, test in zip(rows["group"], tests, strict=True)
        ],
        index=rows.index,
        columns=COLUMNS,
    )


def baselines(collection: Collection, baseline: str | None) -> dict[str, Group]:
    """The group that each group is compared with, by the group's key; those without one are not there.

    It is the baseline's group of the same table; where there are several, that of the same settings in all
    that these differ by.

    Args:
        collection: the sweep.
        baseline: a label or a name of an encoding.

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
        named = {name for each in there for name in each.settings}
        apart = {name for name in named if len({each.settings.get(name) for each in there}) > 1}
        alike = [
            each
            for each in there
            if all(each.settings.get(name) == group.settings.get(name) for name in apart)
        ]
        if group in own:
            found[group.key] = group
        elif len(alike or there) == 1:
            (found[group.key],) = alike or there
    return found
