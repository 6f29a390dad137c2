"""Which positions SeqPE's objectives compare in each step, drawn for many steps at once: a draw for one step
takes longer to ask for than to compute.

Shapes: U pivots of a step, C candidates a pivot, G draws of T offsets a step, A axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.encodings.seqpe.objectives import Mix, draw_candidates, draw_offsets, draw_starts, nearest
from pebench.position_encoding import StepRNG

PIVOTS = 32
"""Pivots a step, and draws of offsets a step; a pass over 20,000 positions takes 625 steps."""

STEPS_AT_ONCE = 16
"""Steps that are drawn for at a time."""


class Comparisons(NamedTuple):
    """What one step compares.

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


class Drawing:
    """The comparisons of each step, equal for equal seeds whatever step training begins at."""

    def __init__(
        self,
        mix: Mix,
        places: int,
        base: int,
        digits: int,
        extent: tuple[int, ...],
        contrastive: bool = True,
        distillation: bool = True,
    ) -> None:
        """
        Args:
            mix: where candidates come from. places: positions an axis that are compared.
            base: of the digits. digits: of each axis.
            extent: the trained one.
            contrastive, distillation: whether the objective is wanted.
        """
        self.mix, self.places, self.base, self.digits, self.extent = mix, places, base, digits, extent
        self.contrastive, self.distillation = contrastive, distillation
        self._drawn: tuple[tuple[int, int], list[Comparisons]] | None = None

    def of(self, draw: StepRNG) -> Comparisons:
        """Those of a step."""
        number, place = divmod(draw.step, STEPS_AT_ONCE)
        if self._drawn is None or self._drawn[0] != (draw.seed, number):
            self._drawn = (draw.seed, number), self._steps(draw, number)
        return self._drawn[1][place]

    def _steps(self, draw: StepRNG, number: int) -> list[Comparisons]:
        generator = draw.generator("seqpe", "comparisons", number)
        pivots = self._pivots(draw, range(number * STEPS_AT_ONCE, (number + 1) * STEPS_AT_ONCE))
        together, count, axes = torch.cat(pivots), PIVOTS * STEPS_AT_ONCE, len(self.extent)
        candidates, labels = together.new_empty(len(together), 0, axes), together.new_zeros(len(together))
        if self.contrastive:
            candidates = draw_candidates(together, self.mix, self.places, self.base, self.digits, generator)
            labels = nearest(together, candidates)
        offsets = outside = together.new_empty(count, 0, axes)
        if self.distillation:
            offsets = draw_offsets(self.extent, count, self.mix.size, generator)
            outside = offsets + draw_starts(self.extent, count, self.places, generator)
        sizes = [len(part) for part in pivots]
        parts = (candidates.split(sizes), labels.split(sizes), offsets.split(PIVOTS), outside.split(PIVOTS))
        return [Comparisons(*part) for part in zip(pivots, *parts, strict=True)]

    def _pivots(self, draw: StepRNG, steps: range) -> list[Tensor]:
        """(U, A) for each step: a pass over all positions goes through them in an order of its own."""
        axes = len(self.extent)
        cells = self.places**axes
        length = math.ceil(cells / PIVOTS)
        orders = {
            epoch: torch.randperm(cells, generator=draw.generator("seqpe", "pivots", epoch))
            for epoch in sorted({step // length for step in steps})
        }
        chosen = [orders[step // length][step % length * PIVOTS :][:PIVOTS] for step in steps]
        return [torch.stack(torch.unravel_index(part, (self.places,) * axes), dim=-1) for part in chosen]
