"""Is A better than B: paired tests at every metric and extent, with Holm's correction over all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pebench.errors import UserError, join_and, unknown
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.groups import Group
from pebench.leaderboard.operands import Operand, Operands
from pebench.leaderboard.paired_test import PairedTest, Sample, holm, paired_tests
from pebench.leaderboard.run_data import RunData, sample
from pebench.leaderboard.sampling import between, counted, ends, half_width, unanimous
from pebench.leaderboard.uncertainty import LEVEL
from pebench.leaderboard.wording import gaps
from pebench.machine.environment import processor
from pebench.notation.significant_figures import significant
from pebench.specification.flat_spec import settings
from pebench.store.records import MetricRecord
from pebench.store.scores import Extent, extent_name, inside, positions


@dataclass(frozen=True)
class ComparedScore:
    """A against B at one metric and extent.

    Attributes:
        metric: its name.
        record: how the metric is read.
        extent: where it was measured.
        test: the paired test of A's scores against B's.
        p_equivalent: of the two one-sided tests that show the difference to be within the margin, after
            Holm's correction over all such tests; NaN without a margin.
    """

    metric: str
    record: MetricRecord
    extent: Extent
    test: PairedTest
    p_equivalent: float = math.nan

    @property
    def won(self) -> int:
        """Number of pairs in which A is better."""
        return self.test.above if self.record.higher_is_better else self.test.below

    @property
    def ahead(self) -> int:
        """1 where A has the better mean, −1 where B has, 0 where neither."""
        difference = self.test.difference
        if math.isnan(difference) or difference == 0:
            return 0
        return 1 if (difference > 0) == self.record.higher_is_better else -1

    @property
    def percent(self) -> float:
        """The difference in percent of B's mean, NaN where there is none."""
        return 100 * self.test.difference / abs(self.test.second) if self.test.second else math.nan

    @property
    def deviations(self) -> float:
        """The difference in standard deviations of the differences between seeds; NaN where there is none."""
        found = self.test.uncertainty
        return found.mean / found.deviation if found is not None and found.spread else math.nan

    @property
    def equal(self) -> bool:
        """Whether the difference is shown to be within the margin."""
        return self.p_equivalent < LEVEL

    @property
    def shown(self) -> int:
        """`ahead` where the corrected p is below `LEVEL`, else 0."""
        return self.ahead if self.test.p_holm < LEVEL else 0


@dataclass(frozen=True)
class PairedComparison:
    """One group of A against one of B.

    Attributes:
        groups: the two.
        scores: by metric and extent.
        notes: sentences about what is missing, and about what else differs between the two.
        run_ids: of the two.
    """

    groups: tuple[Group, Group]
    scores: list[ComparedScore]
    notes: list[str]
    run_ids: tuple[list[str], list[str]]


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        pairs: the groups of A, each with that of B on the same task.
        others: metrics that were measured and are not compared here.
        verdict: one sentence.
        margin: within which the two are asked to be equal, None where they are not.
    """

    pairs: list[PairedComparison]
    others: list[str]
    verdict: str
    margin: float | None = None


def compare(
    collection: Collection, operands: Operands, metrics: Sequence[str] = (), margin: float | None = None
) -> Comparison:
    """Compares two operands. All tests are one family of Holm's correction, and those of equivalence another.

    Args:
        collection: the runs of both.
        operands: see `pebench.leaderboard.operands.find_operands`.
        metrics: which are compared, by default the one that each task is judged by.
        margin: a difference in the unit of the metric that does not matter, to ask whether the two are equal
            within it.

    Raises:
        UserError: nothing of one can be put beside anything of the other, or no run has such a metric.
    """
    tasks = {group.task for operand in operands for group in operand.groups}
    known = {name: record for task in tasks for name, record in collection.metrics.get(task, {}).items()}
    for metric in metrics:
        if metric not in known:
            raise unknown("metric", metric, known)
    wanted = set(metrics) or {name for task, name in collection.headlines.items() if task in tasks}
    compared = {name: record for name, record in known.items() if name in wanted}
    pairs = list(_matched(operands))
    if not pairs:
        raise UserError(_nothing_alike(operands))
    places = [(pair, place) for pair in pairs for place in _places(operands, pair, compared)]
    tests = paired_tests(
        [
            (_sample(operands[0], pair[0], *place), _sample(operands[1], pair[1], *place))
            for pair, place in places
        ],
        ["all that is compared"] * len(places),
    )
    equal = holm(
        [
            math.nan if margin is None or test.uncertainty is None else test.uncertainty.p_equivalent(margin)
            for test in tests
        ]
    )
    scores = [
        (pair, ComparedScore(metric, compared[metric], extent, test, float(p)))
        for (pair, (metric, extent)), test, p in zip(places, tests, equal, strict=True)
    ]
    return Comparison(
        pairs=[
            PairedComparison(
                groups=pair,
                scores=(own := [score for other, score in scores if other is pair]),
                notes=[
                    *_identical(own),
                    *evidence(own, margin),
                    *_by_themselves(operands, pair, own),
                    *_notes(operands, pair),
                ],
                run_ids=(_run_ids(operands[0], pair[0]), _run_ids(operands[1], pair[1])),
            )
            for pair in pairs
        ],
        others=[name for name in known if name not in compared],
        verdict=verdict((operands[0].name, operands[1].name), [score for _, score in scores], margin),
        margin=margin,
    )


def _matched(operands: Operands) -> Iterator[tuple[Group, Group]]:
    """Pairs each group of A with B's group on the same task that shares most settings."""
    first, second = operands
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


def _nothing_alike(operands: Operands) -> str:
    first, second = operands
    keys = [{group.key for group in operand.groups} for operand in operands]
    if keys[0] & keys[1]:
        same = "are seeds of one cell" if first.kind == "run" and first != second else "are the same runs"
        return f"'{first.name}' and '{second.name}' {same}: there is nothing to compare."
    tasks = [{group.task for group in operand.groups} for operand in operands]
    if not tasks[0] & tasks[1]:
        return f"'{first.name}' is of {join_and(tasks[0])} and '{second.name}' of {join_and(tasks[1])}."
    return f"the sweeps '{first.name}' and '{second.name}' have no encoding in common."


def _places(
    operands: Operands, pair: tuple[Group, Group], metrics: Mapping[str, MetricRecord]
) -> list[tuple[str, Extent]]:
    """The metrics and extents at which either of a pair has a score, in order."""
    found = {
        (metric, extent)
        for operand, group in zip(operands, pair, strict=True)
        for run in operand.of_group(group)
        for metric, extent, _ in run.scores
        if metric in metrics
    }
    order = list(metrics)
    return sorted(found, key=lambda place: (order.index(place[0]), positions(place[1]), place[1]))


def _sample(operand: Operand, group: Group, metric: str, extent: Extent) -> Sample:
    method = operand.extrapolation
    if method is None or inside(extent, group.trained):
        method = group.default or ""
    return sample(operand.of_group(group), group.key, (metric, extent, method))


def _run_ids(operand: Operand, group: Group) -> list[str]:
    return [run.run_id for run in operand.of_group(group)]


def _identical(scores: Sequence[ComparedScore]) -> Iterator[str]:
    same = [score for score in scores if score.test.identical]
    if same:
        yield (
            f"At {_extents(same)} A and B are the same runs: nothing is tested there, and Holm's correction "
            "does not count it."
        )


def _by_themselves(
    operands: Operands, pair: tuple[Group, Group], scores: Sequence[ComparedScore]
) -> Iterator[str]:
    """A sentence a metric about how well the scores themselves are known, of which their differences on the
    same examples say nothing."""
    for metric, record in {score.metric: score.record for score in scores}.items():
        extents = [score.extent for score in scores if score.metric == metric]
        counts = _measured_on(operands, pair, metric, extents)
        known, widths = [], []
        for letter, operand, group in zip("AB", operands, pair, strict=True):
            samples = [_sample(operand, group, metric, extent) for extent in extents]
            widths += (own := [half_width(one) for each in samples for one in each.by_unit.values()])
            if uneven := [width for width in own if width > 0]:
                known.append(f"{letter} {between(uneven, record.unit)}")
        if known:
            yield (
                f"By the choice of the {counted(counts)} alone, a score of one seed lies within: "
                f"{' and '.join(known)} of that on all such (with 95 % confidence)."
            )
        if counts and record.unit == "%" and 0.0 in widths:
            yield unanimous(min(counts.values()))


def _measured_on(
    operands: Operands, pair: tuple[Group, Group], metric: str, extents: Sequence[Extent]
) -> Mapping[str, int]:
    """What stands behind the scores of a metric, at the extent where that is least."""
    found = [
        counts
        for operand, group in zip(operands, pair, strict=True)
        for run in operand.of_group(group)
        for extent in extents
        if (counts := run.counts((metric, extent, group.default or "")))
    ]
    return min(found, key=lambda counts: min(counts.values()), default={})


def _notes(operands: Operands, pair: tuple[Group, Group]) -> Iterator[str]:
    runs = [operand.of_group(group) for operand, group in zip(operands, pair, strict=True)]
    for letter, own in zip("AB", runs, strict=True):
        yield from gaps(letter, own)
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
    for name, of in (("data", _data), ("code", _code), ("device", _device), ("processor", _processor)):
        found = [sorted({of(each) for each in own} - {""}) for own in runs]
        if found[0] != found[1] and all(found):
            yield f"Their {name} is not the same: {', '.join(found[0])} and {', '.join(found[1])}."


_OWN = ("encoding.", "plugins.", "task.name", "task.label")


def _data(run: RunData) -> str:
    return " ".join(f"{name} {digest[:12]}" for name, digest in sorted(run.fingerprints.items()))


def _code(run: RunData) -> str:
    commit = run.provenance.get("commit")
    return f"{str(commit)[:12]}{' with changes' if run.provenance.get('dirty') else ''}" if commit else ""


def _device(run: RunData) -> str:
    return str(run.provenance.get("device") or "")


def _processor(run: RunData) -> str:
    """Where it computed on a CPU, whose kernels differ from one to another in the last digits of a sum."""
    return processor(run.provenance) if _device(run) == "cpu" else ""


def evidence(scores: Sequence[ComparedScore], margin: float | None) -> Iterator[str]:
    """Sentences about what the uncertainty of the differences comes from, and what could be shown at all.

    Args:
        scores: of one pair.
        margin: see `compare`.
    """
    known = {score: score.test.uncertainty for score in scores if score.test.uncertainty is not None}
    tested = {score: found for score, found in known.items() if found.spread}
    if any(found.seeds > 1 and not found.spread for found in known.values()):
        same = [score for score, found in known.items() if found.seeds > 1 and not found.spread]
        yield f"At {_extents(same)} all seeds have the same difference: without a spread there is no test."
    if not tested:
        return
    material = next((found.material for found in tested.values() if found.with_text), "examples")
    shares = [100 * found.text_share for found in tested.values() if found.with_text]
    if len(shares) < len(tested):
        where = "" if not shares else " in part"
        yield (
            f"The intervals come from seeds alone{where}, because no scores by document were kept that both "
            "have: other data may give other differences."
        )
    if shares:
        yield (
            f"{ends(shares, '{:.0f}'.format)} % of the variance of the differences is the choice of the "
            f"{material}, the rest is the seeds."
        )
    for metric in dict.fromkeys(score.metric for score in tested):
        own = {score: found for score, found in tested.items() if score.metric == metric}
        unit = next(iter(own)).record.unit
        least = [found.detectable() for found in own.values()]
        seeds = ends([found.seeds for found in own.values()], str)
        yield (
            f"Power: {seeds} seeds show a difference of {ends(least, _detectable)} {unit or metric} four "
            "times in five, before Holm's correction."
        )
        if margin is not None:
            needed = [found.seeds_needed(margin) for found in own.values()]
            enough = [count for count in needed if count is not None]
            hidden = len(needed) - len(enough)
            if enough:
                yield f"To show {margin:g} {unit or metric} takes {ends(enough, str)} seeds."
            if hidden:
                yield (
                    f"At {hidden} of {len(needed)} extents no number of seeds shows {margin:g} "
                    f"{unit or metric}: that takes more {material}."
                )


def _detectable(difference: float) -> str:
    return significant(difference, 2)


def verdict(names: tuple[str, str], scores: Sequence[ComparedScore], margin: float | None = None) -> str:
    """The answer in one sentence.

    Args:
        names: of A and B.
        scores: all that is compared.
        margin: see `compare`.
    """
    said = _verdict(names, scores)
    if margin is None:
        return said
    equal = [score for score in scores if score.equal]
    known = [score for score in scores if not math.isnan(score.test.difference)]
    where = _where(equal, known, " everywhere") if equal else " nowhere"
    return f"{said} Equal within {margin:g} they are shown to be{where}."


def _verdict(names: tuple[str, str], scores: Sequence[ComparedScore]) -> str:
    first, second = names
    known = [score for score in scores if not math.isnan(score.test.difference)]
    untested = any(score.test.identical for score in scores)
    where = partial(_where, known=known, everywhere=" wherever that is tested" if untested else " everywhere")
    if not known:
        if scores and all(score.test.identical for score in scores):
            return f"Nothing to compare: {first} and {second} are the same runs everywhere."
        return f"Not known: nowhere have {first} and {second} the same seeds, each with a score."
    better, worse = ([score for score in known if score.shown == sign] for sign in (1, -1))
    counts = [score.test.pairs for score in known]
    pairs = f"{ends(counts, str)} pairs of seeds"
    if set(counts) == {1}:
        leads = where([score for score in known if score.ahead == 1])
        ahead = f"{first} is ahead{leads}" if leads else f"{first} is nowhere ahead"
        return f"Not shown: one pair of seeds says nothing about chance; {ahead}."
    tested = sum(not math.isnan(score.test.p) for score in known)
    level = (
        f"at the level of {100 * LEVEL:.0f} % after Holm's correction over {tested} "
        f"comparison{'' if tested == 1 else 's'}, with {pairs}"
    )
    rest = [score for score in known if score.shown == 0]
    undecided = f", and no difference is shown{where(rest)}" if rest else ""
    if better and worse:
        return f"It depends: {first} is better{where(better)} and {second}{where(worse)}{undecided}; {level}."
    if better:
        answer = "In part" if rest else "Yes"
        return f"{answer}: {first} is better than {second}{where(better)}{undecided}; {level}."
    if worse:
        return f"No: {second} is better than {first}{where(worse)}{undecided}; {level}."
    return f"Not shown: no difference between {first} and {second} is more than chance, {level}."


def _where(scores: Sequence[ComparedScore], known: Sequence[ComparedScore], everywhere: str) -> str:
    """`` at 128 and 256``, `everywhere`, or how often where there is more than one metric or pair."""
    if not scores:
        return ""
    if len(scores) == len(known):
        return everywhere
    if len({score.extent for score in known}) < len(known):
        return f" in {len(scores)} of {len(known)} comparisons"
    return f" at {_extents(scores)}"


def _extents(scores: Sequence[ComparedScore]) -> str:
    """``128, 256 and 512``, each once."""
    *most, last = dict.fromkeys(extent_name(score.extent) for score in scores)
    return f"{', '.join(most)} and {last}" if most else last
