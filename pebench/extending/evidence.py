"""What was measured of each way past the trained extent, and how well its differences are known.

There is one model and one reading of the text, so what differences are uncertain by is the choice of the text
alone: the stretches of it whose last tokens are scored under every extent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from pebench.extending.plan import Method, Plan
from pebench.leaderboard.uncertainty import CONFIDENCE
from pebench.store.example_scores import Examples
from pebench.store.run_folder import RunFolder

Value = TypeVar("Value")

Stretches = Mapping[tuple[int, int], tuple[float, int]]
"""Nats and tokens by document and begin of a stretch."""

Tails = dict[tuple[str, int], Stretches]
"""By the label of a method and the extent."""


class Difference(NamedTuple):
    """How far one perplexity is above another.

    Attributes:
        ratio: the first over the second.
        low, high: the 95 % interval of the ratio over the choice of the text; NaN where one stretch says
            nothing of it.
    """

    ratio: float
    low: float
    high: float

    @property
    def above(self) -> bool:
        """Whether the first is shown to be above the second."""
        return self.low > 1

    @property
    def known(self) -> bool:
        """Whether it is known how certain it is."""
        return not math.isnan(self.low)

    @property
    def below(self) -> bool:
        """Whether the first is shown to be below the second."""
        return self.high < 1


@dataclass(frozen=True)
class Evidence:
    """The scores of every method.

    Attributes:
        plan: what was asked.
        tails: nats and tokens of each scored stretch, by method and extent.
        accuracy: of the retrieval in percent, by method and extent; empty where it was not asked for.
    """

    plan: Plan
    tails: Tails
    accuracy: Mapping[tuple[str, int], float]

    def perplexity(self, method: Method, extent: int) -> float:
        """Of the fixed tail; NaN where the model gave no number."""
        found = self.tails.get((method.label, extent))
        return math.nan if not found else _exp(_total(found))

    def retrieved(self, method: Method, extent: int) -> float:
        """Accuracy of the retrieval in percent, NaN where it is not known."""
        return self.accuracy.get((method.label, extent), math.nan)

    def compared(self, one: tuple[Method, int], other: tuple[Method, int]) -> Difference:
        """Two methods, each at an extent, on the same tokens."""
        first, second = (self.tails.get((method.label, extent), {}) for method, extent in (one, other))
        if not first or first.keys() != second.keys():
            return Difference(math.nan, math.nan, math.nan)
        mean = _total(first) - _total(second)
        error, freedom = _error(first, second, mean)
        if math.isnan(error):
            return Difference(_exp(mean), math.nan, math.nan)
        from scipy.special import stdtrit

        half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * error
        return Difference(_exp(mean), _exp(mean - half), _exp(mean + half))


def read(plan: Plan, text: RunFolder, retrieval: RunFolder | None) -> Evidence:
    """The evidence of finished runs.

    Args:
        plan: what they are of. text: the run on text. retrieval: the other, None where there is none.
    """
    metric = f"perplexity-tail-{plan.tail}"
    tails: Tails = {
        (one.extrapolation, one.extent[0]): _stretches(one)
        for one in text.examples()
        if any(ratio.metric == metric for ratio in one.ratios)
    }
    result = retrieval.result() if retrieval is not None else None
    accuracy = {
        (score.extrapolation, score.extent[0]): score.value
        for score in (result.scores if result is not None else ())
        if score.metric == "accuracy" and score.value is not None
    }
    return Evidence(plan, _within(plan, tails), _within(plan, accuracy))


def _within(plan: Plan, found: dict[tuple[str, int], Value]) -> dict[tuple[str, int], Value]:
    """The same, with what a map that does nothing up to the trained extent has there."""
    trained = plan.methods[0].label
    for extent in plan.extents:
        for method in plan.methods:
            if extent <= plan.trained and (trained, extent) in found:
                found.setdefault((method.label, extent), found[trained, extent])
    return found


def _stretches(one: Examples) -> Stretches:
    columns = (one.columns[name] for name in ("document", "stretch", "nats", "tokens"))
    return {
        (int(document), int(stretch)): (float(nats), int(tokens))
        for document, stretch, nats, tokens in zip(*columns, strict=True)
    }


def _total(found: Stretches) -> float:
    """Nats a token."""
    return math.fsum(nats for nats, _ in found.values()) / sum(tokens for _, tokens in found.values())


def _error(first: Stretches, second: Stretches, mean: float) -> tuple[float, float]:
    """Standard error of the difference of nats a token over stretches, and its degrees of freedom."""
    tokens = sum(count for _, count in first.values())
    weights = [count / tokens for _, count in first.values()]
    squares = sum(weight**2 for weight in weights)
    if len(weights) < 2:
        return math.nan, math.nan
    moved = [
        (first[key][0] - second[key][0]) / tokens - mean * weight
        for key, weight in zip(first, weights, strict=True)
    ]
    expected = (1 - 2 * weight + squares for weight in weights)
    variance = math.fsum(one**2 / part for one, part in zip(moved, expected, strict=True))
    return math.sqrt(variance), max(1 / squares - 1, 1.0)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
