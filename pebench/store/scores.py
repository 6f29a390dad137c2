"""How the scores of a run are named and placed, the same in tables, plots and the tracking store."""

from __future__ import annotations

import math

from pebench.store.records import Result, Score

Extent = tuple[int, ...]
"""Positions an axis, or what a task counts in their place."""


def extent_name(extent: Extent) -> str:
    """``512``, or ``14x14`` for an extent of several axes."""
    return "x".join(str(size) for size in extent)


def evaluation_name(extent: tuple[int, ...], extrapolation: str, default: str | None) -> str:
    """``512``, or ``512/yarn`` where the extrapolation is not the encoding's default."""
    name = extent_name(extent)
    return name if extrapolation == default else f"{name}/{extrapolation}"


def score_name(score: Score, default: str | None) -> str:
    """``bits-per-byte/512``: the metric and the `evaluation_name`.

    Args:
        score: the score that is named.
        default: the default of the run it belongs to, see `default_extrapolation`.
    """
    return f"{score.metric}/{evaluation_name(score.extent, score.extrapolation, default)}"


def default_extrapolation(result: Result) -> str | None:
    """The encoding's own way past the trained extent, evaluated first; None for a run without scores."""
    return result.scores[0].extrapolation if result.scores else None


def positions(extent: Extent) -> int:
    """How many positions an extent has on all its axes together."""
    return math.prod(extent)


def inside(extent: Extent, trained: Extent | None) -> bool:
    """Whether an extent is no longer than the trained one on any axis, so that nothing is extrapolated."""
    if trained is None or len(trained) != len(extent):
        return False
    return all(size <= most for size, most in zip(extent, trained, strict=True))
