"""The answer: which setting for all lengths, its cost at short ones, and whether extending is worth it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from pebench.errors import UserError
from pebench.extending.evidence import Evidence
from pebench.extending.plan import Method
from pebench.leaderboard.wording import signed
from pebench.notation.significant_figures import significant
from pebench.pretrained.configuration import rope_parameters

ENOUGH = 80.0
"""Accuracy in percent that counts as being able to retrieve, as in RULER's effective length."""


@dataclass(frozen=True)
class Recommendation:
    """The answer.

    Attributes:
        method: the setting to use for all lengths; None where the trained extent is the best to use.
        alike: those that the text does not tell from the best at the largest extent, it among them.
        sentences: the answer in words, the most important one first.
        settings: RoPE of the setting as transformers writes it, in JSON; empty where there is none, and where
            the model stays as it is.
    """

    method: Method | None
    alike: tuple[Method, ...]
    sentences: tuple[str, ...]
    settings: str = ""


def recommend(evidence: Evidence) -> Recommendation:
    """The answer that the evidence gives.

    At the largest extent the method with the lowest perplexity wins, on tokens that every extent scores;
    among those that the text does not tell from it, the one that costs least at the trained extent.
    """
    plan = evidence.plan
    longest, trained = plan.extents[-1], plan.trained
    own = plan.methods[0]
    known = [method for method in plan.methods if math.isfinite(evidence.perplexity(method, longest))]
    if not known:
        return Recommendation(None, (), (f"At {longest} tokens no method gave a number.",))
    best = min(known, key=lambda method: evidence.perplexity(method, longest))
    certain = evidence.compared((best, longest), (own, trained)).known
    alike = [
        method
        for method in known
        if method is best or (certain and not evidence.compared((method, longest), (best, longest)).above)
    ]
    chosen = min(alike, key=lambda method: _or(evidence.perplexity(method, trained), math.inf))
    gain = evidence.compared((chosen, longest), (own, trained))
    sentences = [_answer(evidence, chosen, best, alike)]
    if gain.above:
        sentences = [
            f"Keep {plan.model.label} at {trained} tokens: of {len(known)} settings none predicts the same "
            f"tokens as well with {longest} tokens before them as what it was trained with does with "
            f"{trained} (the best, {best.label}, has {_times(evidence, (best, longest), (own, trained))} "
            "of its perplexity).",
            f"If {longest} tokens must be read all the same: {sentences[0]}",
        ]
    else:
        worth = "better than" if gain.below else "neither better nor worse than"
        sentences.append(
            f"With {longest} tokens before them it predicts the same tokens {worth} what it was trained with "
            f"does with {trained}: {_times(evidence, (chosen, longest), (own, trained))} of the perplexity."
        )
    sentences.append(_cost(evidence, chosen))
    if chosen.name == "dynamic":
        sentences.append(
            "Its frequencies are here those of the extent that is served; transformers changes them as a "
            "text grows, so that keys in its cache keep those of a shorter one."
        )
    sentences += _middle(evidence, chosen)
    if not certain:
        sentences.append(
            f"How certain this is, one stretch of {longest} tokens does not say: give it more text."
        )
    sentences += _retrieval(evidence, chosen, longest)
    return Recommendation(
        None if gain.above else chosen, tuple(alike), tuple(sentences), _settings(evidence, chosen)
    )


def _answer(evidence: Evidence, chosen: Method, best: Method, alike: list[Method]) -> str:
    longest = evidence.plan.extents[-1]
    own = evidence.plan.methods[0]
    use = f"Leave it as it is, {own.label}," if chosen is own else f"Use {chosen.label}"
    text = (
        f"{use} for all lengths up to {longest} tokens: its perplexity there is "
        f"{significant(evidence.perplexity(chosen, longest), 4)}"
    )
    if len(alike) == 1:
        return f"{text}, the lowest of {len(evidence.plan.methods)} settings."
    if chosen is best:
        return (
            f"{text}, the lowest of {len(evidence.plan.methods)} settings; the text does not tell "
            f"{_names(alike, chosen)} from it, and at {evidence.plan.trained} tokens none of them costs less."
        )
    return (
        f"{text}, which the text does not tell from the lowest of {len(evidence.plan.methods)}, "
        f"{significant(evidence.perplexity(best, longest), 4)} of {best.label}, and of those alike it costs "
        f"least at {evidence.plan.trained} tokens."
    )


def _cost(evidence: Evidence, chosen: Method) -> str:
    """What a constant factor costs where it would not be needed."""
    trained, own = evidence.plan.trained, evidence.plan.methods[0]
    difference = evidence.compared((chosen, trained), (own, trained))
    if chosen is own or difference.ratio == 1:
        return f"At {trained} tokens and below it changes nothing."
    told, low, high = (signed((value - 1) * 100, 2) for value in difference)
    if math.isnan(difference.low):
        return f"At {trained} tokens it changes the perplexity by {told} %."
    shown = "" if difference.above or difference.below else ", which is not shown to be any difference"
    return (
        f"At {trained} tokens it changes the perplexity by {told} % (95 % interval {low} to {high} %){shown}."
    )


def _middle(evidence: Evidence, chosen: Method) -> list[str]:
    """The extents between, where another setting is shown to be better."""
    found = []
    for extent in evidence.plan.extents:
        if not evidence.plan.trained < extent < evidence.plan.extents[-1]:
            continue
        known = [m for m in evidence.plan.methods if math.isfinite(evidence.perplexity(m, extent))]
        best = min(known, key=lambda method: evidence.perplexity(method, extent), default=chosen)
        if best is not chosen and evidence.compared((chosen, extent), (best, extent)).above:
            found.append(
                f"For texts of up to {extent} tokens alone {best.label} is better: "
                f"{_times(evidence, (best, extent), (chosen, extent))} of its perplexity there."
            )
    return found


def _retrieval(evidence: Evidence, chosen: Method, longest: int) -> list[str]:
    if not evidence.accuracy:
        return []
    plan = evidence.plan
    base = evidence.retrieved(plan.methods[0], plan.trained)
    here = evidence.retrieved(chosen, longest)
    if not base >= ENOUGH:
        return [
            f"The retrieval says little of these settings: already at {plan.trained} tokens the model writes "
            f"{base:.0f} % of the hidden numbers."
        ]
    found = [
        f"Of numbers hidden in {longest} tokens it writes {here:.0f} %, and of those in {plan.trained} "
        f"tokens {evidence.retrieved(chosen, plan.trained):.0f} %."
    ]
    best = max(plan.methods, key=lambda method: _or(evidence.retrieved(method, longest), -1.0))
    if evidence.retrieved(best, longest) >= here + 10:
        found.append(
            f"By retrieval alone {best.label} would be the choice, with "
            f"{evidence.retrieved(best, longest):.0f} % at {longest} tokens."
        )
    return found


def _settings(evidence: Evidence, chosen: Method) -> str:
    model = evidence.plan.model
    if chosen is evidence.plan.methods[0]:
        return ""
    rope = next(part.options for part in model.encoding.parts if part.name == "rope")
    try:
        found = rope_parameters(rope, chosen.way, model.geometry)
    except UserError:
        return ""
    return json.dumps(found, indent=2)


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value


def _times(evidence: Evidence, one: tuple[Method, int], other: tuple[Method, int]) -> str:
    """``1.05 times (1.02 to 1.08)``."""
    found = evidence.compared(one, other)
    if math.isnan(found.low):
        return f"{found.ratio:.3f} times"
    return f"{found.ratio:.3f} times ({found.low:.3f} to {found.high:.3f})"


def _names(methods: list[Method], besides: Method) -> str:
    names = [method.label for method in methods if method is not besides]
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"
