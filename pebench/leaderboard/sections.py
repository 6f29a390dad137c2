"""The sections of a leaderboard: tables of values that Markdown, LaTeX, terminal and page only render."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pebench.leaderboard.answers import Answer, difference_text
from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import cost_rows, not_alone
from pebench.leaderboard.learning_curves import LearningCurves
from pebench.leaderboard.overall import Standing
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.tuning import TUNED, TunedRow
from pebench.leaderboard.wording import (
    decimal,
    difference_heading,
    entry_text,
    extent_headings,
    grouped,
    number,
    p_text,
    signed,
)
from pebench.leaderboard.wording import (
    difference_text as difference_of_entry,
)
from pebench.store.scores import extent_name

_RELATIVE = (
    "A score relative to the best at its extent is 1 for the best{}. What is missing in one task has no mean "
    "over all."
)
PUBLISHED = (
    "Figures of others for the same task, data, metric and extents. Models and budgets differ, so a "
    "difference says how far apart two experiments are, and not which is right."
)
NO_PUBLISHED = "No published figure has the task, data, metric and extents of this sweep."


@dataclass(frozen=True)
class Value:
    """One field of a table.

    Attributes:
        text: as it is shown.
        number: sorted by; NaN for one that is not known, None for a text.
        best: whether it is the best of its column.
        diverged: whether runs behind it diverged.
    """

    text: str
    number: float | None = None
    best: bool = False
    diverged: bool = False


@dataclass(frozen=True)
class Table:
    """A table as every renderer shows it.

    Attributes:
        headings: of the columns.
        rows: the values, the row's name first.
        file: the CSV file that holds every row.
    """

    headings: list[str]
    rows: list[list[Value]]
    file: str = "leaderboard.csv"


@dataclass(frozen=True)
class Section:
    """A table under a title.

    Attributes:
        title: of the section.
        table: what it shows.
        explained: sentences above the table.
    """

    title: str
    table: Table
    explained: str = ""


def scores_table(table: LeaderboardTable) -> Table:
    """The means by extent."""
    rows = []
    tuned = any(row.group.tuned for row in table.rows)
    for row in table.rows:
        means = []
        for extent in table.extents:
            entry = row.at(extent)
            best = table.is_best(extent, entry)
            means.append(Value(entry_text(entry), entry.mean, best, diverged=entry.diverged > 0))
        rows.append([Value(row.label), *([Value(row.group.tuned)] if tuned else []), *means])
    return Table(["encoding", *(["chosen"] if tuned else []), *extent_headings(table)], rows)


def comparison_table(table: LeaderboardTable, headings: Sequence[str] = ("rank", "", "p")) -> Table:
    """The rank, the difference to the baseline and its p at the largest extent.

    Args:
        table: of a task.
        headings: of the three; an empty one is `difference_heading`.
    """
    rows = []
    for row in table.rows:
        entry = row.at(table.largest)
        difference = Value(difference_of_entry(entry), entry.difference)
        p = Value(p_text(entry.p_holm), entry.p_holm)
        rows.append([Value(row.label), Value(str(entry.rank or ""), entry.rank or math.nan), difference, p])
    return Table(["encoding", *(heading or difference_heading(table) for heading in headings)], rows)


def comparison_explained(table: LeaderboardTable) -> str:
    """What the numbers of `comparison_table` are."""
    if all(math.isnan(row.at(table.largest).p_holm) for row in table.rows):
        return "The difference on the seeds that both have. Nothing can be tested: no rank is known and no p."
    return (
        "Rank by the mean, shared where no difference is shown; mean difference of the pairs of equal seeds "
        "± half the width of its 95 % t interval; p of the paired t test after Holm's correction over the "
        "encodings compared."
    )


def is_compared(board: Board, table: LeaderboardTable) -> bool:
    """Whether any row has a difference to the baseline at the largest extent."""
    return board.baseline is not None and any(
        not math.isnan(row.at(table.largest).difference) for row in table.rows
    )


def overall_explained(board: Board) -> str:
    """What the numbers over all tasks are."""
    if "mean rank" not in means_over_tasks(board).headings:
        shared = "; one seed gives no rank"
        return f"Relative scores are means over the extents of a task. {_RELATIVE.format(shared)}"
    shared = "; encodings share a rank where no difference between them is shown"
    return f"Rank and relative score are means over the extents of a task. {_RELATIVE.format(shared)}"


def overall_table(board: Board) -> Table:
    """The mean rank and relative score of every encoding, over all tasks and in each."""
    whole = means_over_tasks(board)
    headings, rows = [*whole.headings], [[*row] for row in whole.rows]
    none = Standing(math.nan, math.nan)
    for table in board.tables:
        standings = [row.standings.get(table.title, none) for row in board.overall]
        ranked = _ranked(standings)
        headings += [f"{table.title}: rank", "relative"] if ranked else [f"{table.title}: relative"]
        for row, standing in zip(rows, standings, strict=True):
            row += _standing(standing, ranked=ranked)
    return Table(headings, rows, "overall.csv")


def means_over_tasks(board: Board) -> Table:
    """The mean rank and relative score of every encoding over all tasks; without ranks where none has one, as
    with one seed."""
    ranked = _ranked([standing for row in board.overall for standing in row.standings.values()])
    headings = ["encoding", *(["mean rank"] if ranked else []), "relative score"]
    rows = [
        [Value(row.label), *_standing(Standing(row.rank, row.relative), ranked=ranked)]
        for row in board.overall
    ]
    return Table(headings, rows, "overall.csv")


def _ranked(standings: Sequence[Standing]) -> bool:
    return any(not math.isnan(standing.rank) for standing in standings)


def _standing(standing: Standing, *, ranked: bool) -> list[Value]:
    rank = [Value(decimal(standing.rank, 2), standing.rank)] if ranked else []
    return [*rank, Value(decimal(standing.relative, 3), standing.relative)]


def further_sections(board: Board, table: LeaderboardTable) -> list[Section]:
    """The sections below the scores of a task: what they are of, its costs and the published figures."""
    found = [
        Section(
            "Behind each score",
            _behind(table),
            _BEHIND.format(f"{'these' if table.material.endswith('s') else 'this'} {table.material}"),
        ),
        *(_curves(curves) for curves in board.curves if curves.table is table),
        Section("Tuning", _tuning(board, table), TUNED),
        Section("Cost", _costs(board, table), not_alone(board.collection, table)),
        Section("Published figures", _published(board, table), PUBLISHED),
    ]
    return [section for section in found if section.table.rows]


CLAIMS = (
    "Shown or refuted: p is below 5 % after Holm's correction over all claims. The difference is the one "
    "that the answer hangs on, ± half the width of its 95 % interval, above 0 where it speaks for the claim; "
    "a claim of equality is shown by two one-sided tests."
)


def claims_table(answers: Sequence[Answer]) -> Table:
    """The answers, the differences that they hang on, what would show a claim, and what was published."""
    published = any(one.claim.published for one in answers)
    rows = [
        [
            Value(one.claim.claim),
            Value(one.outcome),
            Value(difference_text(one.decisive)),
            Value(p_text(one.p_holm), one.p_holm),
            Value(one.basis),
            Value(one.needed),
            *([Value(one.claim.published or "")] if published else []),
        ]
        for one in answers
    ]
    headings = ["claim", "answer", "difference", "p", "uncertainty of", "to show it"]
    headings += ["published"] if published else []
    return Table(headings, rows, "claims.csv")


def seeds_table(table: LeaderboardTable) -> Table:
    """Every seed's score by extent."""
    rows = []
    for row in table.rows:
        for seed in sorted({seed for entry in row.entries.values() for seed in entry.seeds}):
            scores = [row.at(extent).seeds.get(seed, math.nan) for extent in table.extents]
            values = [Value("" if math.isnan(score) else number(score), score) for score in scores]
            rows.append([Value(row.label), Value(str(seed), seed), *values])
    return Table(["encoding", "seed", *extent_headings(table)], rows, "scores.csv")


def _tuning(board: Board, table: LeaderboardTable) -> Table:
    """Every candidate's score; the row's own table says which was chosen."""
    rows = []
    for label, tuned in tuned_rows(board, table):
        means = [tuned.mean(place) for place in range(len(tuned.choice.candidates))]
        best = means[tuned.chosen.candidate]
        for place, (candidate, mean) in enumerate(zip(tuned.choice.candidates, means, strict=True)):
            chosen = place == tuned.chosen.candidate
            text = "diverged" if math.isnan(mean) else number(mean, like=best)
            further = "" if math.isnan(mean) or chosen else signed(mean - best, 3)
            rows.append(
                [
                    Value(label),
                    Value(candidate.label),
                    Value(text, mean, best=chosen, diverged=math.isnan(mean)),
                    Value(further, math.nan if chosen else mean - best),
                ]
            )
    judged = {tuned.choice.place for _, tuned in tuned_rows(board, table)}
    return Table(["encoding", "candidate", "; ".join(sorted(judged)), "to the chosen"], rows, "tuning.csv")


def tuned_rows(board: Board, table: LeaderboardTable) -> list[tuple[str, TunedRow]]:
    """The choices of a table, each with the name of its row, in the order of names."""
    tuned = board.collection.tuned
    keys = {row.group.label: row.group.key for row in table.rows if row.group.key in tuned}
    return [(label, tuned[key]) for label, key in sorted(keys.items())]


_BEHIND = (
    "What each seed's score is measured on, and how much of the variance of a mean is the choice of {}; "
    "the rest is the seeds."
)


def _behind(table: LeaderboardTable) -> Table:
    """Tokens, windows, documents or what else stands behind each column, and the text's share of the
    variance."""
    entries = {extent: [row.at(extent) for row in table.rows] for extent in table.extents}
    found = {
        extent: next((e.measured_on for e in own if e.measured_on), {}) for extent, own in entries.items()
    }
    rows = [
        [
            Value(name),
            *(Value(grouped(found[e].get(name)), found[e].get(name, math.nan)) for e in table.extents),
        ]
        for name in dict.fromkeys(name for counts in found.values() for name in counts)
    ]
    for row in table.rows:
        shares = [row.at(extent).text_share for extent in table.extents]
        if not all(map(math.isnan, shares)):
            texts = ["" if math.isnan(share) else f"{100 * share:.0f} %" for share in shares]
            rows.append([Value(f"share of the {table.material}, {row.label}"), *map(Value, texts, shares)])
    return Table(["measured on", *extent_headings(table)], rows)


def _curves(curves: LearningCurves) -> Section:
    """The means at no more than eight of the looks, the last of which are among them."""
    chosen = sorted({curves.updates[-1 - back * (len(curves.updates) - 1) // 7] for back in range(8)})
    if len(curves.updates) > 1:
        chosen = sorted({*chosen, curves.updates[-2]})
    rows = []
    for label, own in curves.means.items():
        means = [own.get(update, math.nan) for update in chosen]
        rows.append([Value(label), *(Value("" if math.isnan(m) else number(m), m) for m in means)])
    order = curves.order
    return Section(
        f"By updates, at {extent_name(curves.extent)}",
        Table(["encoding", *(f"{update:,}" for update in chosen)], rows, "curves.csv"),
        order.sentence(curves.extent) if order is not None else "",
    )


def _costs(board: Board, table: LeaderboardTable) -> Table:
    costs = cost_rows(board.costs, table)
    item = costs[0].item if costs else ""
    at = f" at {extent_name(table.largest)}" if table.largest else ""
    headings = [
        "encoding",
        "parameters",
        "of the encoding",
        f"training {item}/s",
        f"evaluation {item}/s{at}",
        "training memory (MiB)",
        "kernels",
    ]
    rows = []
    for row in costs:
        rates = [row.parameters, row.encoding_parameters, row.training, row.evaluation]
        numbers = [Value(grouped(value), value) for value in rates]
        memory = Value(grouped(row.memory / 2**20), row.memory)
        rows.append([Value(row.label), *numbers, memory, Value(row.kernels, math.nan)])
    return Table(headings, rows, "costs.csv")


def _published(board: Board, table: LeaderboardTable) -> Table:
    headings = ["encoding", "metric", "extent", "ours", "parameters", "published", "difference"]
    rows = [
        [
            Value(match.label),
            Value(match.metric),
            Value(extent_name(match.extent)),
            Value(number(match.mean), match.mean),
            Value(grouped(match.parameters), match.parameters or math.nan),
            Value(number(match.figure.value, like=match.mean), match.figure.value),
            Value(signed(match.difference, 2 if abs(match.difference) >= 1 else 3), match.difference),
            Value(match.figure.model),
            Value(match.figure.source),
            Value("; ".join(match.remarks)),
        ]
        for match in board.published or ()
        if match.table == table.key
    ]
    return Table([*headings, "their model", "source", "note"], rows, "published.csv")
