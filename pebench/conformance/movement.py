"""Movement of an encoding's parameters in a given schedule, and whether it suffices for what they are to do.

An update of Adam moves a number by about the learning rate, so a schedule moves it by about the sum of its
rates. A bias that is learned as a table of numbers has to come from zero to several nats in that way: to put
nine tenths of the attention on one of n keys, which are alike otherwise, takes ln(9·(n − 1)).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pebench.conformance.cost import EXTENTS
from pebench.encoding_config import build_encoding
from pebench.portrait.logits import row_of_bias
from pebench.position_encoding import (
    AttentionInputs,
    Extrapolation,
    Geometry,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)
from pebench.randomness import generator
from pebench.running.optimisation import learning_rate, optimiser
from pebench.specification.run_spec import Training

MOST_UPDATES = 300
"""Updates that are carried out; a longer schedule is passed through in steps that are as much larger."""

SHARE = 0.9
"""Of the attention, that a bias should be able to put on one key."""

LARGEST_RATE = 1.0
"""That is suggested. An update of Adam moves a number by about the rate: what has to go farther than that at
each of them is not learned in such a schedule."""


class Moved(NamedTuple):
    """Movement of one parameter.

    Attributes:
        name: of the parameter.
        numbers: how many it has.
        start: root of their mean square at the start.
        distance: that the farthest of them went.
    """

    name: str
    numbers: int
    start: float
    distance: float


class Movement(NamedTuple):
    """Movement of an encoding's parameters, when every update asks for the same.

    Attributes:
        rates: sum of the learning rates.
        parameters: each of them.
        before: largest difference in nats that its bias makes between two keys at the start; None where it
            has no learned bias.
        after: likewise at the end.
        needed: nats that put `SHARE` of the attention on one key.
        better_rate: the least rate of its own, of one figure, at which `after` is what is needed; None where
            it is that already, or where no rate up to `LARGEST_RATE` helps.
    """

    rates: float
    parameters: list[Moved]
    before: float | None
    after: float | None
    needed: float
    better_rate: float | None = None

    @property
    def most(self) -> float | None:
        """Largest difference in nats that its bias makes; None where it has no learned bias."""
        return None if self.before is None or self.after is None else max(self.before, self.after)

    @property
    def falls_short(self) -> bool:
        """Whether a learned bias stays below what is needed."""
        return self.most is not None and self.most < self.needed


def movement(name: str, options: Mapping[str, Any], axes: int, train: Training) -> Movement:
    """Measures how far the parameters of an encoding go in a schedule.

    Each update raises the logit of the nearest keys and lowers that of the farthest, with the optimiser, the
    rates and the moments of training, so that no batch would move them farther.

    Args:
        name: of the encoding.
        options: of it.
        axes: on so many.
        train: the schedule.
    """
    found = _movement(name, options, axes, train)
    rate = _better_rate(name, options, axes, train) if found.falls_short else None
    return found._replace(better_rate=rate)


def _better_rate(name: str, options: Mapping[str, Any], axes: int, train: Training) -> float | None:
    """The least rate of one figure above that of the schedule at which the bias goes far enough."""

    def suffices(rate: float) -> bool:
        own = train.encoding.model_copy(update={"learning_rate": rate})
        return not _movement(name, options, axes, train.model_copy(update={"encoding": own})).falls_short

    # Each is tried: a bias that first has to leave the values that it starts with, one that is a product, and
    # one that is bounded are no straight lines of the rate, along which one measurement would tell of others.
    refused = train.encoding.learning_rate or train.learning_rate
    for rate in _rates((1, 2, 5), refused, LARGEST_RATE):
        if suffices(rate):
            between = (finer for finer in _rates(range(1, 10), refused, rate) if finer < rate)
            return next(filter(suffices, between), rate)
        refused = rate
    return None


def _rates(figures: Iterable[int], above: float, to: float) -> list[float]:
    """Those of one figure, of these, above a rate and up to another, in order."""
    powers = range(math.floor(math.log10(above)), math.floor(math.log10(to)) + 1)
    rates = sorted(float(f"{figure}e{power}") for power in powers for figure in figures)
    return [rate for rate in rates if above < rate <= to]


def _movement(name: str, options: Mapping[str, Any], axes: int, train: Training) -> Movement:
    geometry = Geometry(64, 4, 1, EXTENTS[axes][0], causal=axes == 1)
    encoding = build_encoding(name, options, geometry).train()
    updates = min(MOST_UPDATES, train.steps)
    span = train.steps / max(1, updates)
    highest = train.encoding.learning_rate or train.learning_rate
    rates = [learning_rate(train, int((n + 0.5) * span), highest) * span for n in range(updates)]
    parameters = {key: p for key, p in encoding.named_parameters() if p.requires_grad}
    start = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    first = contrast = _contrast(encoding)
    if contrast is not None:
        steps = optimiser(nn.ModuleDict({"encoding": encoding}), encoding, train)
        for rate in rates:
            steps.zero_grad(set_to_none=True)
            (-contrast.pull).backward()
            for group in steps.param_groups:
                group["lr"] = rate
            steps.step()
            contrast = _contrast(encoding)
            assert contrast is not None
    moved = [
        Moved(
            key,
            parameter.numel(),
            float(start[key].square().mean().sqrt()),
            float((parameter.detach() - start[key]).abs().max()),
        )
        for key, parameter in parameters.items()
    ]
    needed = math.log(SHARE / (1 - SHARE) * (math.prod(geometry.extent) - 1))
    before, after = (None if each is None else each.range for each in (first, contrast))
    return Movement(sum(rates), moved, before, after, needed)


class _Contrast(NamedTuple):
    """Difference that a bias makes between keys.

    Attributes:
        pull: between near and far ones, the mean over heads; with a gradient.
        range: largest of any head between two keys.
    """

    pull: Tensor
    range: float


def _contrast(encoding: PositionEncoding) -> _Contrast | None:
    """What the bias makes of the keys of the last query; None without a learned one."""
    if not any(parameter.requires_grad for parameter in encoding.parameters()):
        return None
    geometry = encoding.geometry
    positions = grid(geometry.extent)
    count = positions.shape[1]
    table = tabulate(encoding, positions, Extrapolation(geometry.extent, encoding.extrapolations[0]))
    content = torch.randn(1, count, geometry.width, generator=generator(0, "movement"))
    heads = content.unflatten(-1, (geometry.heads, geometry.head_dim)).transpose(1, 2)
    x: AttentionInputs = layer_inputs(encoding, heads, heads, content, table)
    bias = encoding.bias(x)
    if bias is None:
        return None
    row = count - 1
    values = row_of_bias(bias, row, count)[0]
    if not values.requires_grad:
        return None
    distance = (positions[0] - positions[0, row]).abs().sum(-1)
    near, far = distance <= distance.median(), distance > distance.median()
    pull = values[:, near].mean() - values[:, far].mean()
    return _Contrast(pull, float((values.amax(-1) - values.amin(-1)).max().detach()))
