"""Numbers, headings and sentences about gaps, worded the same in every table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pebench.errors import join_and
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.sampling import between, counted, ends, unanimous
from pebench.leaderboard.tables import Entry, LeaderboardTable
from pebench.store.records import MetricRecord
from pebench.store.scores import extent_name


def number(value: float, like: float | None = None) -> str:
    """A score with about four digits.

    Args:
        value: the number.
        like: the number at whose last digit it shall end, by default itself.
    """
    size = abs(value if like is None else like)
    if size >= 1e6 or abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value:.{_digits(size)}f}"


def _digits(size: float) -> int:
    size = abs(size)
    return 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0


def entry_text(entry: Entry) -> str:
    """``2.371 ± 0.025``, ``2.371`` for one seed, ``diverged 1/2``, or nothing where no mean is known."""
    if entry.diverged:
        return f"diverged {entry.diverged}/{entry.expected}"
    if not entry.known:
        return ""
    if math.isnan(entry.half_width):
        return number(entry.mean)
    return f"{number(entry.mean)} ± {number(entry.half_width, like=entry.mean)}"


def heading(table: LeaderboardTable) -> str:
    """The metric, its unit and which way is up."""
    if not table.metric:
        return "Nothing has finished yet."
    return f"{metric_heading(table.metric, table.record)} by extent"


def metric_heading(metric: str, record: MetricRecord) -> str:
    """A metric, its unit and which way is up."""
    direction = "higher" if record.higher_is_better else "lower"
    unit = f"{record.unit}, " if record.unit else ""
    return f"{metric} ({unit}{direction} is better)"


def explained(table: LeaderboardTable) -> str:
    """A sentence about the entries of a table."""
    if not table.metric:
        return ""
    return f": {score_meaning(table)}, the best of a column in bold. A cell is empty where a seed is missing."


def score_meaning(table: LeaderboardTable) -> str:
    """What the entries of a table are."""
    if not several_seeds(table):
        return "the score of one seed"
    return f"mean ± half the width of the 95 % t interval over {interval_over(table)}"


def marks(table: LeaderboardTable) -> str:
    """What the marks of a picture of a table are, beside its lines."""
    return "rings are single seeds, bars 95 % t intervals" if several_seeds(table) else "one seed"


def several_seeds(table: LeaderboardTable) -> bool:
    """Whether any row has more than one."""
    return any(len(entry.seeds) > 1 for entry in table.entries)


def interval_over(table: LeaderboardTable) -> str:
    """What the intervals of a table are over."""
    return f"the seeds and the {table.material}" if table.with_text else "the seeds"


def shares(table: LeaderboardTable) -> str:
    """A sentence about how much of the variance of the means is the seeds and how much the text, empty where
    that is not known."""
    known = [round(100 * e.text_share) for e in table.entries if not math.isnan(e.text_share)]
    if not known:
        return ""
    share = ends(known, str)
    return f"{share} % of the variance of a mean is the choice of the {table.material}, the rest is the seeds"


def difference_heading(table: LeaderboardTable) -> str:
    """The heading of differences, with their sign's meaning."""
    return f"difference ({'above' if table.record.higher_is_better else 'below'} 0 is better)"


def difference_text(entry: Entry) -> str:
    """``−0.512 ± 0.020`` to the baseline, without an interval for one pair, or nothing."""
    return difference_of(entry.difference, entry.difference_half_width, entry.mean)


def difference_of(difference: float, half_width: float, mean: float) -> str:
    """``−0.512 ± 0.020``: the difference of a mean to another, see `difference_text`."""
    if math.isnan(difference):
        return ""
    # The digits of the means: a difference of two of them has no more.
    digits = _digits(mean)
    text = signed(difference, digits)
    return text if math.isnan(half_width) else f"{text} ± {half_width:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero has none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if not text.strip("+−0.") else text


def p_text(p: float) -> str:
    """``0.012``, ``< 0.001``, or nothing."""
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def decimal(value: float, digits: int) -> str:
    """A number, or nothing where it is not known."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def grouped(value: float | None) -> str:
    """A whole number with its thousands apart, or nothing where it is not known."""
    return "" if value is None or math.isnan(value) else f"{value:,.0f}"


def extent_headings(table: LeaderboardTable) -> list[str]:
    """The heading of each column, as ``128 (trained)``."""
    return [f"{extent_name(e)} (trained)" if e in table.trained else extent_name(e) for e in table.extents]


def notes(collection: Collection, table: LeaderboardTable) -> list[str]:
    """Sentences about what is missing from a table, what diverged and how settings were chosen; run ids stand
    in backquotes."""
    groups = {row.group.key: row.group.label for row in table.rows}
    missing = [note for key, label in groups.items() for note in gaps(label, collection.by_group[key])]
    tuned = collection.tuned
    chosen = [note for key, label in groups.items() if key in tuned for note in tuned[key].remarks(label)]
    return [*missing, *chosen, *_alone(table), *_of_one_seed(table), *_without_spread(table)]


def _alone(table: LeaderboardTable) -> Iterator[str]:
    """A sentence about rows whose intervals leave the choice of the text out."""
    labels = [
        row.label
        for row in table.rows
        if any(not e.over_text and not math.isnan(e.half_width) for e in row.entries.values())
    ]
    if labels:
        who = "Runs" if len(labels) == len(table.rows) else f"The runs of {join_and(labels)}"
        yield (
            f"{who} kept no scores of single examples that belong together: their intervals come from seeds "
            f"alone and leave out how much other {table.material} would change."
        )


def _of_one_seed(table: LeaderboardTable) -> Iterator[str]:
    """A sentence about scores of one seed, which are as uncertain as the set that they were measured on."""
    entries = [entry for entry in table.entries if math.isnan(entry.half_width) and entry.sampling > 0]
    if entries:
        widths = between([entry.sampling for entry in entries], table.record.unit)
        fewest = min(
            (entry.measured_on for entry in entries), key=lambda counts: min(counts.values(), default=0)
        )
        yield (
            f"One seed has no interval: the choice of the {counted(fewest)} alone makes {widths} of each "
            "score (with 95 % confidence), and another seed may differ by more."
        )


def _without_spread(table: LeaderboardTable) -> Iterator[str]:
    """Sentences about intervals without width, which small sets have on which nothing goes wrong, or all."""
    rows = [
        (row.label, entry)
        for row in table.rows
        for entry in row.entries.values()
        if entry.sampling == 0.0 or (entry.over_text and entry.half_width == 0.0)
    ]
    labels = join_and(dict.fromkeys(label for label, entry in rows if entry.half_width == 0.0))
    if labels:
        yield (
            f"{labels}: ± 0 means that seeds and {table.material} differ by no more than chance, not that "
            "the score is exact."
        )
    counts = [
        min(entry.measured_on.values())
        for _, entry in rows
        if table.record.unit == "%" and entry.mean in (0.0, 100.0) and entry.measured_on
    ]
    if counts and table.material == "examples":
        yield unanimous(min(counts))


def gaps(label: str, runs: Sequence[RunData]) -> Iterator[str]:
    """Sentences about what the runs of a group lack and which of them diverged.

    Args:
        label: name of the group.
        runs: every run that was asked for.
    """
    missing = [str(run.spec.seed) for run in runs if run.result is None]
    if missing:
        finished = len(runs) - len(missing)
        yield f"{label}: {finished} of {len(runs)} seeds finished, missing seed {', '.join(missing)}."
    for run in runs:
        if run.result is not None and run.result.status == "diverged":
            step = "" if run.result.diverged_at is None else f" at step {run.result.diverged_at}"
            yield f"{label}: seed {run.spec.seed} diverged{step} (`{run.run_id}`)."
    for run in runs:
        for (metric, extent, _), value in run.scores.items():
            if math.isnan(value):
                yield f"{label}: `{run.run_id}` gave no number for {metric} at {extent_name(extent)}."
