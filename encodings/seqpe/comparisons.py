"""Which positions SeqPE's objectives compare in each step, drawn for many steps at once: a draw for one step
takes longer to ask for than to compute.

Shapes: U pivots of a step, C candidates a pivot, G draws of T offsets a step, A axes.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.encodings.seqpe.objectives import Mix, draw_candidates, draw_offsets, draw_starts, nearest
from pebench.position_encoding import StepRNG

STEPS_AT_ONCE = 32
"""Steps that are drawn for at a time."""


class Comparisons(NamedTuple):
    """Positions that one step compares.

    Attributes:
        pivots: (U, A) positions. candidates: (U, C, A) positions. labels: (U,) the candidate that is nearest.
        offsets: (G, T, A) cells of the trained extent. outside: (G, T, A) the same in windows outside of it.
            Of an objective that is not wanted C or T is 0.
    """

    pivots: Tensor
    candidates: Tensor
    labels: Tensor
    offsets: Tensor
    outside: Tensor


IN_ORDER = 2**28
"""Positions on all axes together up to which passes go through them in an order. With more, as three axes
soon have, pivots are drawn anew each time: the order would take gigabytes, and no training comes to its
end."""


@dataclass(frozen=True)
class Drawing:
    """The comparisons of each step, equal for equal seeds whatever step training begins at. Those of the next
    steps are drawn beside the training, in a thread of their own.

    Attributes:
        mix: where candidates come from. places: positions an axis that are compared.
        base: of the digits. digits: of each axis.
        extent: the trained one.
        pivots: U, 0 where nothing is contrasted. draws: G, 0 where nothing is distilled.
    """

    mix: Mix
    places: int
    base: int
    digits: int
    extent: tuple[int, ...]
    pivots: int
    draws: int

    @property
    def strings(self) -> int:
        """Positions of a step, all together."""
        return self.pivots * (1 + self.mix.size) + self.draws * self.mix.size

    def of(self, draw: StepRNG) -> Comparisons:
        """Those of a step."""
        number, place = divmod(draw.step, STEPS_AT_ONCE)
        drawn = _drawn(self, draw.seed, number)
        _drawn(self, draw.seed, number + 1)
        return drawn.result()[place]

    def steps(self, seed: int, number: int) -> list[Comparisons]:
        """Those of the steps that are drawn for together, by their number."""
        draw = StepRNG(seed, number * STEPS_AT_ONCE)
        generator = draw.generator("seqpe", "comparisons", number)
        pivots = self._pivots(draw, range(draw.step, draw.step + STEPS_AT_ONCE))
        together, count, axes = torch.cat(pivots), self.draws * STEPS_AT_ONCE, len(self.extent)
        candidates, labels = together.new_empty(len(together), 0, axes), together.new_zeros(len(together))
        if self.pivots:
            candidates = draw_candidates(together, self.mix, self.places, self.base, self.digits, generator)
            labels = nearest(together, candidates)
        offsets = outside = together.new_empty(STEPS_AT_ONCE, 0, axes)
        if self.draws:
            offsets = draw_offsets(self.extent, count, self.mix.size, generator)
            outside = offsets + draw_starts(self.extent, count, self.places, generator)
        sizes, parts = [len(part) for part in pivots], max(1, self.draws)
        each = (candidates.split(sizes), labels.split(sizes), offsets.split(parts), outside.split(parts))
        return [Comparisons(*part) for part in zip(pivots, *each, strict=True)]

    def _pivots(self, draw: StepRNG, steps: range) -> list[Tensor]:
        """(U, A) for each step: a pass over all positions goes through them in an order of its own, and fills
        its last step up with any others."""
        axes = len(self.extent)
        if not self.pivots:
            return [torch.zeros(0, axes, dtype=torch.long) for _ in steps]
        cells = self.places**axes
        if cells > IN_ORDER:
            draws = [draw.generator("seqpe", "pivots", "step", step) for step in steps]
            chosen = [torch.randint(cells, (self.pivots,), generator=generator) for generator in draws]
        else:
            length = math.ceil(cells / self.pivots)
            orders = {}
            for epoch in sorted({step // length for step in steps}):
                generator = draw.generator("seqpe", "pivots", epoch)
                further = torch.randint(cells, (-cells % self.pivots,), generator=generator)
                orders[epoch] = torch.cat((torch.randperm(cells, generator=generator), further))
            chosen = [orders[step // length][step % length * self.pivots :][: self.pivots] for step in steps]
        return [torch.stack(torch.unravel_index(part, (self.places,) * axes), dim=-1) for part in chosen]


@lru_cache(maxsize=4)
def _drawn(drawing: Drawing, seed: int, number: int) -> Future[list[Comparisons]]:
    return _beside().submit(drawing.steps, seed, number)


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="seqpe")
