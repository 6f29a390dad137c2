"""Is A better than B: pairs by seed at every metric and extent, t intervals, Holm's correction over all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pebench.errors import UserError, join_and, unknown
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.comparison import holm, paired
from pebench.leaderboard.evidence import Evidence
from pebench.leaderboard.groups import Group
from pebench.leaderboard.sides import Sides
from pebench.leaderboard.wide import Extent, inside
from pebench.leaderboard.wording import gaps
from pebench.scores import extent_name, positions
from pebench.settings import settings
from pebench.store import MetricRecord

LEVEL = 0.05
"""A difference counts as shown where its corrected p is below."""


@dataclass(frozen=True)
class Row:
    """What two say at one metric and extent; NaN where nothing is known.

    Attributes:
        metric, record, extent: where.
        first, second: the means over the seeds that both have, or over their own where they share none.
        difference: first − second, as a mean over pairs. half_width: of its 95 % t interval.
        p: of the paired t test. p_holm: after Holm's correction over all rows.
        pairs: how many seeds both have. won: in how many of them the first is better.
    """

    metric: str
    record: MetricRecord
    extent: Extent
    first: float
    second: float
    difference: float
    half_width: float
    p: float
    p_holm: float
    pairs: int
    won: int

    @property
    def ahead(self) -> int:
        """1 where the first has the better mean, −1 where the second has, 0 where neither."""
        if math.isnan(self.difference) or self.difference == 0:
            return 0
        return 1 if (self.difference > 0) == self.record.higher_is_better else -1

    @property
    def shown(self) -> int:
        """`ahead` where that is more than chance, else 0."""
        return self.ahead if self.p_holm < LEVEL else 0


@dataclass(frozen=True)
class Contest:
    """One group of A against one of B.

    Attributes:
        groups: the two.
        rows: by metric and extent.
        notes: sentences about what is missing, and about what else differs between the two.
        run_ids: of the two.
    """

    groups: tuple[Group, Group]
    rows: list[Row]
    notes: list[str]
    run_ids: tuple[list[str], list[str]]


@dataclass(frozen=True)
class HeadToHead:
    """All that is known of A against B.

    Attributes:
        contests: see there.
        others: metrics that were measured and are not compared here.
        verdict: one sentence.
    """

    contests: list[Contest]
    others: list[str]
    verdict: str


def head_to_head(collection: Collection, sides: Sides, metrics: Sequence[str] = ()) -> HeadToHead:
    """Compares two sides.

    Args:
        collection: the runs of both.
        sides: see `pebench.leaderboard.sides.find_sides`.
        metrics: which are compared, by default the one that each task is judged by.

    Raises:
        UserError: nothing of one can be put beside anything of the other, or no run has such a metric.
    """
    tasks = {group.task for side in sides for group in side.groups}
    known = {name: record for task in tasks for name, record in collection.metrics.get(task, {}).items()}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    wanted = set(metrics) or {name for task, name in collection.headlines.items() if task in tasks}
    compared = {name: record for name, record in known.items() if name in wanted}
    found = [_contest(collection, sides, pair, compared) for pair in _matched(sides)]
    if not found:
        raise UserError(_nothing_alike(sides))
    contests = _corrected(found)
    rows = [row for each in contests for row in each.rows]
    names = (sides[0].name, sides[1].name)
    return HeadToHead(contests, [name for name in known if name not in compared], verdict(names, rows))


def _matched(sides: Sides) -> Iterator[tuple[Group, Group]]:
    """The groups of the first with those of the second that they are put beside: of the same task, and as
    far as there is a choice with the same task options and other settings."""
    first, second = sides
    for group in first.groups:
        beside = [each for each in second.groups if each.task == group.task]
        if first.kind == "sweep":
            beside = [each for each in beside if each.encoding == group.encoding]
        beside = [each for each in beside if each.table == group.table] or beside
        common = [len(group.settings.items() & each.settings.items()) for each in beside]
        beside = [each for each, count in zip(beside, common, strict=True) if count == max(common)]
        if len(beside) > 1:
            rows = join_and(each.label for each in beside)
            raise UserError(f"'{second.name}' is several rows beside '{group.label}': name one of {rows}.")
        if beside and not (beside[0] == group and first.extrapolation == second.extrapolation):
            yield group, beside[0]


def _nothing_alike(sides: Sides) -> str:
    first, second = sides
    keys = [{group.key for group in side.groups} for side in sides]
    if keys[0] & keys[1]:
        same = "are seeds of one cell" if first.kind == "run" and first != second else "are the same runs"
        return f"'{first.name}' and '{second.name}' {same}: there is nothing to compare."
    tasks = [{group.task for group in side.groups} for side in sides]
    if not tasks[0] & tasks[1]:
        return f"'{first.name}' is of {join_and(tasks[0])} and '{second.name}' of {join_and(tasks[1])}."
    return f"the sweeps '{first.name}' and '{second.name}' have no encoding in common."


def _contest(
    collection: Collection, sides: Sides, pair: tuple[Group, Group], metrics: Mapping[str, MetricRecord]
) -> Contest:
    runs = tuple(
        [each for each in collection.evidence if each.spec.group == group.key and each.run_id in side.run_ids]
        for group, side in zip(pair, sides, strict=True)
    )
    places = {
        (score.metric, score.extent)
        for own in runs
        for each in own
        if each.result is not None
        for score in each.result.scores
        if score.metric in metrics
    }
    order = list(metrics)
    rows = [
        _row(
            (metric, metrics[metric], extent),
            *(
                _scores(own, group, side.extrapolation, metric, extent)
                for own, group, side in zip(runs, pair, sides, strict=True)
            ),
        )
        for metric, extent in sorted(
            places, key=lambda place: (order.index(place[0]), positions(place[1]), place[1])
        )
    ]
    ids = [[each.run_id for each in own] for own in runs]
    return Contest(pair, rows, list(_notes(collection, sides, pair, runs)), (ids[0], ids[1]))


def _scores(
    runs: Iterable[Evidence], group: Group, extrapolation: str | None, metric: str, extent: Extent
) -> dict[int, float]:
    """Score by seed, NaN where a run has none here."""
    method = group.default if extrapolation is None or inside(extent, group.trained) else extrapolation
    return {
        each.spec.seed: next(
            (
                score.value
                for score in (each.result.scores if each.result is not None else ())
                if (score.metric, score.extent, score.extrapolation) == (metric, extent, method)
                and score.value is not None
            ),
            math.nan,
        )
        for each in runs
    }


def _row(
    place: tuple[str, MetricRecord, Extent], first: Mapping[int, float], second: Mapping[int, float]
) -> Row:
    """Nothing is known unless every seed that both were asked for has a score."""
    import numpy

    _, record, _ = place
    seeds = sorted(first.keys() & second.keys())
    ours, theirs = (numpy.array([scores[seed] for seed in seeds]) for scores in (first, second))
    difference = ours - theirs
    complete = bool(seeds) and not numpy.isnan(difference).any()
    told = paired(
        difference.mean() if complete else math.nan,
        difference.std(ddof=1) if complete and len(seeds) > 1 else math.nan,
        len(seeds) if complete else math.nan,
    )
    better = difference > 0 if record.higher_is_better else difference < 0
    return Row(
        *place,
        first=_mean(ours if seeds else first.values()),
        second=_mean(theirs if seeds else second.values()),
        difference=float(told.mean),
        half_width=float(told.half_width),
        p=float(told.p),
        p_holm=math.nan,
        pairs=len(seeds) if complete else 0,
        won=int(better.sum()),
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(sum(found) / len(found)) if found else math.nan


def _corrected(contests: list[Contest]) -> list[Contest]:
    corrected = iter(holm([row.p for each in contests for row in each.rows]))
    return [
        replace(each, rows=[replace(row, p_holm=float(next(corrected))) for row in each.rows])
        for each in contests
    ]


def _notes(
    collection: Collection, sides: Sides, pair: tuple[Group, Group], runs: Sequence[Sequence[Evidence]]
) -> Iterator[str]:
    ids = {each.run_id for own in runs for each in own}
    labels = dict(zip((group.key for group in pair), (f"{letter}" for letter in "AB"), strict=True))
    yield from gaps(collection, labels, ids)
    seeds = [{each.spec.seed for each in own} for own in runs]
    if not seeds[0] & seeds[1]:
        yield "A and B have no seed in common, so that there are no pairs."
    elif seeds[0] != seeds[1]:
        alone = ", ".join(str(seed) for seed in sorted(seeds[0] ^ seeds[1]))
        yield f"Only one of the two has seed {alone}, which is left out."
    other = [settings(own[0].spec) for own in runs]
    for name in sorted(other[0].keys() | other[1].keys()):
        values = [each.get(name, "none") for each in other]
        if values[0] != values[1] and not name.startswith(_OWN) and name != "seed":
            yield f"They differ in {name} too: {values[0]} and {values[1]}."
    for name, of in (("data", _data), ("code", _code), ("device", _device)):
        found = [sorted({of(each) for each in own} - {""}) for own in runs]
        if found[0] != found[1] and all(found):
            yield f"Their {name} is not the same: {', '.join(found[0])} and {', '.join(found[1])}."


_OWN = ("encoding.", "plugins.", "task.name", "task.label")


def _data(run: Evidence) -> str:
    return " ".join(f"{name} {digest[:12]}" for name, digest in sorted(run.data.items()))


def _code(run: Evidence) -> str:
    commit = run.provenance.get("commit")
    return f"{str(commit)[:12]}{' with changes' if run.provenance.get('dirty') else ''}" if commit else ""


def _device(run: Evidence) -> str:
    return str(run.provenance.get("device") or "")


def verdict(names: tuple[str, str], rows: Sequence[Row]) -> str:
    """The answer in one sentence.

    Args:
        names: of A and B. rows: of all that is compared.
    """
    first, second = names
    known = [row for row in rows if not math.isnan(row.difference)]
    if not known:
        return f"Not known: nowhere have {first} and {second} the same seeds, each with a score."
    better, worse = ([row for row in known if row.shown == sign] for sign in (1, -1))
    counts = sorted({row.pairs for row in known})
    pairs = f"{' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} pairs of seeds"
    if counts == [1]:
        where = _where([row for row in known if row.ahead == 1], known)
        ahead = f"{first} is ahead{where}" if where else f"{first} is nowhere ahead"
        return f"Not shown: one pair of seeds says nothing about chance; {ahead}."
    level = f"at the level of {100 * LEVEL:.0f} % after Holm's correction over {_count(known)}, with {pairs}"
    rest = [row for row in known if row.shown == 0]
    undecided = f", and no difference is shown{_where(rest, known)}" if rest else ""
    if better and worse:
        return (
            f"It depends: {first} is better{_where(better, known)} and {second}{_where(worse, known)}"
            f"{undecided}; {level}."
        )
    if better:
        answer = "In part" if rest else "Yes"
        return f"{answer}: {first} is better than {second}{_where(better, known)}{undecided}; {level}."
    if worse:
        return f"No: {second} is better than {first}{_where(worse, known)}{undecided}; {level}."
    return f"Not shown: no difference between {first} and {second} is more than chance, {level}."


def _count(rows: Sequence[Row]) -> str:
    tested = sum(not math.isnan(row.p) for row in rows)
    return f"{tested} comparison{'' if tested == 1 else 's'}"


def _where(rows: Sequence[Row], known: Sequence[Row]) -> str:
    """`` at 128 and 256``, `` everywhere``, or how often where there is more than one metric or contest."""
    if not rows:
        return ""
    if len(rows) == len(known):
        return " everywhere"
    if len({row.extent for row in known}) < len(known):
        return f" in {len(rows)} of {len(known)} comparisons"
    *most, last = [extent_name(row.extent) for row in rows]
    return f" at {', '.join(most)} and {last}" if most else f" at {last}"
