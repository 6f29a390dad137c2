"""Answers to the claims about a sweep: shown, refuted, or not shown and what would be needed.

A claim is a statement about differences: each is above a bound, or each is within a margin. Both directions
are tested: that all of it holds (the largest p of its parts, as an intersection-union test) and that a part
of it fails (the smallest p, times their number). Twice the smaller of the two is the p of the claim, and
Holm's correction is over all claims of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pebench.errors import UserError, join_and, unknown
from pebench.leaderboard.claims import Claim, ClaimedRow, ExtentName, Protocol
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.groups import Group
from pebench.leaderboard.operands import named_rows
from pebench.leaderboard.paired_test import Sample, difference_of, holm
from pebench.leaderboard.run_data import sample
from pebench.leaderboard.uncertainty import LEVEL, Uncertainty
from pebench.leaderboard.wording import signed
from pebench.store.records import MetricRecord
from pebench.store.scores import Extent, extent_name, inside, positions

Outcome = Literal["shown", "refuted", "not shown"]

_WORDS = ("trained", "beyond", "all")


@dataclass(frozen=True)
class Part:
    """One difference that a claim is about.

    Attributes:
        what: it is of, in words.
        unit: of the difference.
        difference: positive in favour of the claim, or of any sign where it is to be small; None where it is
            not known.
        bound: that it is to be above, or within ± which it is to be.
        within: whether it is to be within.
        missing: why there is no test, empty where there is one.
    """

    what: str
    unit: str
    difference: Uncertainty | None
    bound: float
    within: bool
    missing: str = ""

    @property
    def p_holds(self) -> float:
        """One-sided p of the test that shows it."""
        if self.difference is None:
            return math.nan
        if self.within:
            return self.difference.p_equivalent(self.bound)
        return self.difference.p_above(self.bound)

    @property
    def p_fails(self) -> float:
        """p of the test that shows the opposite."""
        found = self.difference
        if found is None or not found.spread:
            return math.nan
        if self.within:
            return min(1.0, 2 * min(found.p_above(self.bound), found.p_below(-self.bound)))
        return found.p_below(self.bound)

    @property
    def room(self) -> float:
        """How far what was seen lies on the claim's side of the bound."""
        assert self.difference is not None
        return self.bound - abs(self.difference.mean) if self.within else self.difference.mean - self.bound


@dataclass(frozen=True)
class Answer:
    """Answer to a claim.

    Attributes:
        claim: the claim.
        parts: the differences that it is about.
        p: of both directions together; NaN where nothing can be tested.
        p_holm: after Holm's correction over all claims.
        tested: how many claims have a p.
    """

    claim: Claim
    parts: tuple[Part, ...]
    p: float
    p_holm: float = math.nan
    tested: int = 1

    @property
    def outcome(self) -> Outcome:
        """What is shown of the claim."""
        if not self.p_holm < LEVEL:
            return "not shown"
        return "shown" if self.p_holds < self.p_fails else "refuted"

    @property
    def p_holds(self) -> float:
        """p of the test that shows all of it: 1 where a part cannot be tested, NaN where none can."""
        found = [part.p_holds for part in self.parts]
        untested = sum(map(math.isnan, found))
        return max(found) if not untested else 1.0 if untested < len(found) else math.nan

    @property
    def p_fails(self) -> float:
        """p of the test that shows that a part of it fails."""
        found = [part.p_fails for part in self.parts if not math.isnan(part.p_fails)]
        return min(1.0, len(self.parts) * min(found)) if found else math.nan

    @property
    def decisive(self) -> Part:
        """The part that the answer hangs on: the least certain, or for a refuted claim the one that fails."""
        tested = [part for part in self.parts if not math.isnan(part.p_holds)]
        if self.outcome == "refuted":
            return min(tested, key=lambda part: part.p_fails)
        if len(tested) < len(self.parts):
            return next(part for part in self.parts if part not in tested)
        return max(self.parts, key=lambda part: part.p_holds)

    @property
    def basis(self) -> str:
        """What the intervals are over: ``seeds``, ``seeds and text``, or ``seeds and examples``."""
        found = [part.difference for part in self.parts if part.difference is not None]
        return f"seeds and {found[0].material}" if found and all(one.with_text for one in found) else "seeds"

    @property
    def needed(self) -> str:
        """What would show it, where it is not shown."""
        if self.outcome != "not shown":
            return ""
        missing = [part.missing for part in self.parts if part.missing]
        if missing:
            return missing[0]
        if any(part.room <= 0 for part in self.parts):
            return "what was seen does not agree with it, so that no more seeds are likely to show it"
        level = LEVEL / self.tested
        counts = [
            part.difference.seeds_needed(part.room, level)
            for part in self.parts
            if part.difference is not None
        ]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            if self.basis == "seeds":
                return "over 1000 seeds"
            return f"more {self.basis.removeprefix('seeds and ')}: no number of seeds is enough"
        had = min(part.difference.seeds for part in self.parts if part.difference is not None)
        return f"{max(*known, had + 1)} seeds, if the differences are what was seen"


def answer(collection: Collection, claims: Sequence[Claim]) -> list[Answer]:
    """Answers the claims about a sweep, in their order.

    Args:
        collection: the sweep.
        claims: about it; see `pebench.leaderboard.claims`.

    Raises:
        UserError: a claim names a row, an extent or a metric that the sweep has not.
    """
    found = []
    for number, claim in enumerate(claims, 1):
        try:
            parts = tuple(_parts(collection, claim))
        except _Unmeasured as error:
            parts = (Part(str(error), "", None, 0.0, False, f"a score of {error}, which has none yet"),)
        except UserError as error:
            raise UserError(f"claim {number}, '{claim.claim}': {error}") from error
        one = Answer(claim, parts, math.nan)
        if not math.isnan(one.p_holds):
            one = replace(one, p=min(1.0, 2 * min(one.p_holds, one.p_fails)))
        found.append(one)
    tested = sum(not math.isnan(one.p) for one in found)
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=float(p), tested=tested) for one, p in zip(found, corrected, strict=True)]


class _Unmeasured(Exception):
    """A row, which the message names, of which no run has a score."""


@dataclass(frozen=True)
class _Place:
    """A row of a table, by a metric, at one extent."""

    group: Group
    method: str | None
    metric: str
    record: MetricRecord
    extent: Extent
    label: str

    def sample(self, collection: Collection) -> Sample:
        method = self.method
        if method is None or inside(self.extent, self.group.trained):
            method = self.group.default or ""
        return sample(collection.by_group[self.group.key], self.group.key, (self.metric, self.extent, method))


def _parts(collection: Collection, claim: Claim) -> Iterator[Part]:
    match claim.verb:
        case "better":
            assert claim.better is not None
            yield from _ahead(collection, claim, [claim.better], claim.than or (), claim.at)
        case "best" | "worst":
            row = claim.best or claim.worst
            assert row is not None
            others = _others(collection, claim, row)
            sides = ([row], others) if claim.best else (others, [row])
            yield from _ahead(collection, claim, *sides, claim.at)
        case "equal":
            rows = claim.equal or ()
            for number, first in enumerate(rows):
                for second in rows[number + 1 :]:
                    for extent in _extents(collection, claim, claim.at or (), first):
                        places = (_place(collection, claim, row, extent) for row in (first, second))
                        yield _part(collection, claim, *places)
        case "flat" | "explodes":
            row = claim.flat or claim.explodes
            assert row is not None
            assert claim.start is not None
            (start,) = _extents(collection, claim, (claim.start,), row)
            for extent in _extents(collection, claim, claim.to or (), row):
                if extent != start:
                    here, there = (_place(collection, claim, row, e) for e in (start, extent))
                    yield _part(collection, claim, here, there)


def _ahead(
    collection: Collection,
    claim: Claim,
    better: Sequence[ClaimedRow],
    worse: Sequence[ClaimedRow],
    at: Sequence[ExtentName] | None,
) -> Iterator[Part]:
    for first in better:
        for second in worse:
            for extent in _extents(collection, claim, at or (), first):
                yield _part(
                    collection, claim, *(_place(collection, claim, row, extent) for row in (first, second))
                )


def _part(collection: Collection, claim: Claim, first: _Place, second: _Place) -> Part:
    """The difference of two places, positive where the first is better."""
    if (
        first.record.higher_is_better != second.record.higher_is_better
        or first.record.unit != second.record.unit
    ):
        raise UserError(
            f"'{first.metric}' and '{second.metric}' have no difference: their units are not one."
        )
    samples = [place.sample(collection) for place in (first, second)]
    if not first.record.higher_is_better:
        samples.reverse()
    within = claim.within is not None
    bound = (claim.within if within else claim.by) or 0.0
    part = Part(_worded(first, second), first.record.unit or first.metric, None, bound, within)
    seeds = samples[0].scores.keys() & samples[1].scores.keys()
    if samples[0].source == samples[1].source:
        return replace(part, missing="the two are the same runs, of which nothing is tested")
    if not seeds or any(math.isnan(side.scores[seed]) for side in samples for seed in seeds):
        return replace(part, missing="a score by every seed that both were asked for")
    found = difference_of(*samples)
    missing = ""
    if found.seeds < 2:
        missing = "2 seeds at the least: one says nothing about chance"
    elif not found.spread:
        missing = "a spread, which a test needs: all seeds have the same difference"
    return replace(part, difference=found, missing=missing)


def _worded(first: _Place, second: _Place) -> str:
    """``alibi against rope at 8192``, ``alibi at 256 against 8192``."""
    names = [first.label, second.label]
    if first.metric != second.metric:
        names = [f"{place.label} by {place.metric}" for place in (first, second)]
    extents = [extent_name(place.extent) for place in (first, second)]
    if names[0] == names[1]:
        return f"{names[0]} at {extents[0]} against {extents[1]}"
    if extents[0] == extents[1]:
        return f"{names[0]} against {names[1]} at {extents[0]}"
    return f"{names[0]} at {extents[0]} against {names[1]} at {extents[1]}"


def _place(collection: Collection, claim: Claim, row: ClaimedRow, extent: Extent) -> _Place:
    group, method = _measured(collection, claim, row)
    metric = _metric(collection, group, row.metric or claim.metric, row.protocol or claim.protocol)
    if row.at is not None:
        (extent,) = _extents(collection, claim, (row.at,), row)
    return _Place(group, method, metric, collection.metrics[group.task][metric], extent, row.row)


def _row(collection: Collection, claim: Claim, row: ClaimedRow) -> tuple[Group, str | None]:
    groups, method = named_rows(collection, row.row)
    if claim.task is not None:
        groups = [group for group in groups if claim.task in (group.task, " ".join(group.table))]
    if not groups:
        encoding = row.row.rpartition(", ")[0]
        begun, _ = named_rows(collection, encoding)
        if collection.unchosen & {row.row, encoding} or (begun and not _has_score(collection, begun)):
            raise _Unmeasured(row.row)
        labels = {group.label for group in collection.groups.values()}
        tables = {group.task for group in collection.groups.values()}
        if claim.task is not None and claim.task not in tables:
            raise unknown("task", claim.task, tables, f"sweep '{collection.sweep.name}'")
        raise unknown("row", row.row, labels, f"sweep '{collection.sweep.name}'")
    if len(groups) > 1:
        tables = {" ".join(group.table) for group in groups}
        labels = {group.label for group in groups}
        which = (
            f"'task' one of {join_and(sorted(tables))}"
            if len(tables) > 1
            else f"one of {join_and(sorted(labels))}"
        )
        raise UserError(f"'{row.row}' is several rows: name with {which}.")
    return groups[0], method


def _measured(collection: Collection, claim: Claim, row: ClaimedRow) -> tuple[Group, str | None]:
    """As `_row`.

    Raises:
        _Unmeasured: no run of it has a score yet.
    """
    group, method = _row(collection, claim, row)
    if not _has_score(collection, [group]):
        raise _Unmeasured(row.row)
    return group, method


def _has_score(collection: Collection, groups: Sequence[Group]) -> bool:
    return any(run.scores for group in groups for run in collection.by_group[group.key])


def _others(collection: Collection, claim: Claim, row: ClaimedRow) -> list[ClaimedRow]:
    """Every other row of the same table, each by its own way past the trained extent."""
    group, _ = _row(collection, claim, row)
    labels = [
        each.label for each in collection.groups.values() if each.table == group.table and each != group
    ]
    return [row.model_copy(update={"row": label}) for label in labels]


_PROTOCOLS: dict[Protocol, str] = {"non-overlapping": "", "sliding": "-sliding-", "fixed-tail": "-tail-"}


def _metric(collection: Collection, group: Group, name: str | None, protocol: Protocol | None) -> str:
    known = collection.metrics.get(group.task, {})
    metric = name or collection.headlines.get(group.task, "")
    if metric not in known:
        raise unknown("metric", metric, known)
    if protocol is None or not _PROTOCOLS[protocol]:
        return metric
    found = [one for one in known if one.startswith(f"{metric}{_PROTOCOLS[protocol]}")]
    if len(found) != 1:
        raise UserError(f"'{metric}' was not measured by the protocol '{protocol}'.")
    return found[0]


def _extents(
    collection: Collection, claim: Claim, wanted: Sequence[ExtentName], row: ClaimedRow
) -> list[Extent]:
    """The extents that are meant, in order, of those that a row was measured at."""
    group, _ = _measured(collection, claim, row)
    measured = {extent for run in collection.by_group[group.key] for _, extent, _ in run.scores}
    known = sorted(measured, key=lambda extent: (positions(extent), extent))
    trained = group.trained
    found: list[Extent] = []
    for one in wanted:
        if one == "all":
            found += known
        elif one == "trained":
            found += [extent for extent in known if extent == trained]
        elif one == "beyond":
            found += [extent for extent in known if not inside(extent, trained)]
        else:
            named = [e for e in known if extent_name(e) == str(one) or set(e) == {one}]
            if not named:
                names = {extent_name(extent) for extent in known}
                raise unknown("extent", str(one), {*names, *_WORDS}, f"row '{row.row}'")
            found += named
    if not found:
        raise UserError(f"row '{row.row}' has no score at {join_and(str(one) for one in wanted)}.")
    return list(dict.fromkeys(found))


def difference_text(part: Part) -> str:
    """``+0.239 ± 0.008 bits/byte, alibi against rope at 8192``; the difference alone for one seed."""
    found = part.difference
    if found is None:
        return part.what
    # Two digits of the width, as many of the mean.
    scale = found.half_width if found.half_width > 0 else abs(found.mean) / 100
    digits = max(0, 1 - math.floor(math.log10(scale))) if scale > 0 else 3
    width = "" if math.isnan(found.half_width) else f" ± {found.half_width:.{digits}f}"
    return f"{signed(found.mean, digits)}{width} {part.unit}, {part.what}"
