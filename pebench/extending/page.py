"""The answer with its evidence as one page that needs no network."""

from __future__ import annotations

import math

from pebench.extending.evidence import Difference, Evidence
from pebench.extending.plan import Method
from pebench.extending.recommendation import Recommendation
from pebench.leaderboard.board import Board
from pebench.leaderboard.report import CHAPTERS, page
from pebench.leaderboard.report.blocks import Block, Chapter, Grid, Source, Text
from pebench.leaderboard.sections import Table, Value
from pebench.leaderboard.wording import number, signed

NAME = "extension.html"

_HOW = (
    "Under every extent the same tokens are scored, {tail} at the end of each stretch of {longest} tokens, "
    "so that a longer extent only gives them more to look back at. An interval is over the choice of the "
    "text, each by itself: with {count} settings some of the differences that seem shown are chance. Factors "
    "stretch what the model was trained with, {trained} tokens."
)


def extension_page(board: Board, evidence: Evidence, answer: Recommendation) -> str:
    """The text of the file."""
    plan = evidence.plan
    how = _HOW.format(tail=plan.tail, longest=plan.extents[-1], count=len(plan.methods), trained=plan.trained)
    blocks: list[Block] = [Text(how), Grid(perplexities(evidence)), Text(_MARK, soft=True)]
    chapters = [Chapter("evidence", "Perplexity by extent, and its cost at short ones", blocks)]
    if evidence.accuracy:
        chapters.append(
            Chapter("retrieval", "Hidden numbers that it writes, in percent", [Grid(retrieved(evidence))])
        )
    if answer.settings:
        explained = (
            "The setting as rope_parameters in the config.json of transformers; older versions call it "
            "rope_scaling."
        )
        chapters.append(
            Chapter("settings", "The setting for transformers", [Text(explained), Source(answer.settings)])
        )
    chapters += [chapter for make in CHAPTERS for chapter in make(board)]
    return page(board, answer.sentences, chapters)


_MARK = "In bold the best of a column, and those that the text does not tell from it."


def perplexities(evidence: Evidence) -> Table:
    """Perplexity of each setting by extent, and what it costs at the trained one."""
    plan = evidence.plan
    methods = _in_order(evidence)
    best = {
        extent: min(
            (m for m in methods if math.isfinite(evidence.perplexity(m, extent))),
            key=lambda method: evidence.perplexity(method, extent),
            default=methods[0],
        )
        for extent in plan.extents
    }
    own = (plan.methods[0], plan.trained)
    rows = []
    for method in methods:
        cost = evidence.compared((method, plan.trained), own)
        rows.append(
            [
                Value(method.label),
                Value(f"{method.factor:g}", method.factor),
                *(_perplexity(evidence, method, extent, best[extent]) for extent in plan.extents),
                Value(_percent(cost), cost.ratio),
            ]
        )
    headings = ["setting", "factor", *map(str, plan.extents), f"change at {plan.trained}"]
    return Table(headings, rows)


def retrieved(evidence: Evidence) -> Table:
    """Accuracy of the retrieval of each setting by extent."""
    plan = evidence.plan
    rows = [
        [
            Value(method.label),
            *(
                Value("" if math.isnan(value) else f"{value:.0f}", value)
                for extent in plan.extents
                for value in (evidence.retrieved(method, extent),)
            ),
        ]
        for method in _in_order(evidence)
    ]
    return Table(["setting", *map(str, plan.extents)], rows)


def _in_order(evidence: Evidence) -> list[Method]:
    """The best at the largest extent first."""
    longest = evidence.plan.extents[-1]

    def standing(method: Method) -> tuple[bool, float]:
        value = evidence.perplexity(method, longest)
        return not math.isfinite(value), value if math.isfinite(value) else 0.0

    return sorted(evidence.plan.methods, key=standing)


def _perplexity(evidence: Evidence, method: Method, extent: int, best: Method) -> Value:
    value = evidence.perplexity(method, extent)
    if math.isnan(value):
        return Value("", value)
    difference = evidence.compared((method, extent), (best, extent))
    alike = method is best or (difference.known and not difference.above)
    return Value(number(value), value, best=alike)


def _percent(cost: Difference) -> str:
    if math.isnan(cost.ratio):
        return ""
    middle, low, high = (signed((value - 1) * 100, 2) for value in cost)
    if math.isnan(cost.low) or cost.low == cost.high:
        return f"{middle} %"
    return f"{middle} % ({low} to {high})"
