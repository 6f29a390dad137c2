"""How far a single score may lie from that on all such examples, by the choice of those it was measured on.

It is there for one seed too, of which no interval over seeds can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pebench.leaderboard.uncertainty import CONFIDENCE, effective
from pebench.notation.significant_figures import significant

if TYPE_CHECKING:
    from pebench.store.example_scores import ByUnit


def half_width(score: ByUnit) -> float:
    """Half the width of the 95 % t interval of one score over the choice of its units; NaN for one unit."""
    from scipy.special import stdtrit

    if len(score.keys) < 2:
        return math.nan
    h = score.weights
    # As in `pebench.leaderboard.uncertainty`: a unit that is most of a text draws the score to itself.
    variance = float((score.influence**2 / (1.0 - 2.0 * h + (h**2).sum())).sum())
    return float(stdtrit(max(effective(h) - 1.0, 1.0), 0.5 + CONFIDENCE / 2)) * math.sqrt(variance)


def material(measured_on: Iterable[str]) -> str:
    """What scores are measured on beside seeds: ``text``, or ``examples`` such as pictures.

    Args:
        measured_on: what was counted, as ``tokens`` or ``images``.
    """
    return "text" if "tokens" in measured_on else "examples"


def counted(measured_on: Mapping[str, int]) -> str:
    """What a score is measured on in its largest parts, as ``30 images`` or ``5 documents``."""
    if not measured_on:
        return "examples"
    name, count = min(measured_on.items(), key=lambda item: item[1])
    return f"{count:,} {name if count != 1 else name.removesuffix('s')}"


def ends(values: Sequence[float], written: Callable[[float], str]) -> str:
    """The smallest and the largest, as ``0.02 to 0.05``, or ``3`` where they are one."""
    return " to ".join(dict.fromkeys(map(written, (min(values), max(values)))))


def between(widths: Sequence[float], unit: str) -> str:
    """``± 18.3 %``, or ``± 0.02 to 0.05 bits/byte``."""
    return " ".join(["±", ends(widths, lambda width: significant(width, 3)), *([unit] if unit else [])])


def unanimous(count: int) -> str:
    """What is known of others where all of so many examples are right, or all are wrong: the exact upper end
    for what was seen in none of n cases is the p of 0.05 = (1 - p)^n."""
    others = 100.0 * (1.0 - 0.05 ** (1.0 / count))
    return (
        f"Where all of {count} examples are right, or all are wrong, up to {others:.2g} % of others may be "
        "the opposite (with 95 % confidence)."
    )
