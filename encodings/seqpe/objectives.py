"""Objectives of SeqPE beside the task: nearness in space as nearness of vectors, and the same inside as
outside the trained extent. The positions to compare are drawn in tensor code.

Shapes: U pivots, C candidates a pivot, A axes, S digits of all axes together, T offsets, G draws, E channels.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pebench.encodings.seqpe.encoder import from_digits, to_digits

EDITS = 3
"""The most edits that turn a digit string into a hard negative."""


class Mix(NamedTuple):
    """Where the candidates of a pivot come from.

    Attributes:
        size: C, candidates a pivot.
        local: share of the pivots whose candidates all come from one random window.
        window: positions in that window, which has the same side on every axis.
        with_hard: share of the pivots of which some candidates are hard negatives.
        hard: which share of the candidates that is. All others are uniform.
    """

    size: int
    local: float
    window: int
    with_hard: float
    hard: float

    def side(self, places: int, axes: int) -> int:
        """Positions an axis in the window, among `places` an axis."""
        # What is added keeps a root that is a whole number from falling below it.
        return min(places, math.floor(math.pow(self.window, 1 / axes) + 1e-9))


MIXES: dict[Literal["text", "images"], Mix] = {
    "text": Mix(size=32, local=0.6, window=256, with_hard=0.4, hard=0.25),
    "images": Mix(size=64, local=0.2, window=320, with_hard=0.3, hard=0.2),
}


def contrastive_loss(pivots: Tensor, candidates: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the right candidate over raw dot products.

    Args:
        pivots: (U, E). candidates: (U, C, E). labels: (U,) which candidate is nearest in space.
    """
    return F.cross_entropy(torch.einsum("ue,uce->uc", pivots, candidates), labels)


def distillation_loss(teacher: Tensor, student: Tensor, heads: int) -> Tensor:
    """KL(teacher‖student) + KL(student‖teacher) of the rows' softmax, averaged over all matrix elements.

    Args:
        teacher: (G, T, E) vectors inside the trained extent; they receive no gradient.
        student: (G, T, E) vectors of the same offsets outside it.
        heads: parts of E that are compared one by one.
    """
    inside = _similarities(teacher.detach(), heads)
    outside = _similarities(student, heads)
    return ((inside.exp() - outside.exp()) * (inside - outside)).mean()


def _similarities(vectors: Tensor, heads: int) -> Tensor:
    """(G, heads, T, T) logarithms of the softmax of dot products."""
    parts = vectors.unflatten(-1, (heads, -1)).transpose(1, 2)
    similarities: Tensor = (parts @ parts.transpose(-1, -2)).log_softmax(-1)
    return similarities


def nearest(pivots: Tensor, candidates: Tensor) -> Tensor:
    """(U,) the candidate nearest to each pivot by squared Euclidean distance, the first of equals.

    Args:
        pivots: (U, A) positions. candidates: (U, C, A) positions.
    """
    return (candidates - pivots[:, None]).square().sum(-1).argmin(-1)


def draw_candidates(
    pivots: Tensor, mix: Mix, places: int, base: int, digits: int, generator: Generator
) -> Tensor:
    """(U, C, A) candidates for (U, A) pivots, never the pivot itself.

    Args:
        pivots: positions below `places`. mix: where candidates come from. places: positions an axis.
        base: of the digits. digits: of each axis.
        generator: of all draws.
    """
    count = len(pivots)
    uniform = _uniform(pivots, mix.size, places, generator)
    local = _local(pivots, mix, places, generator)
    hard = _hard(pivots, uniform, math.floor(mix.size * mix.hard), places, base, digits, generator)
    kind = torch.rand(count, generator=generator)
    drawn = torch.where((kind < mix.local)[:, None, None], local, uniform)
    return torch.where(((kind >= mix.local) & (kind < mix.local + mix.with_hard))[:, None, None], hard, drawn)


def draw_offsets(extent: tuple[int, ...], draws: int, count: int, generator: Generator) -> Tensor:
    """(G, T, A) cells of the extent, distinct in each draw; T is at most the number of cells."""
    cells = math.prod(extent)
    numbers = torch.rand(draws, cells, generator=generator)
    return _cells(numbers.topk(min(count, cells), sorted=False).indices, extent)


def draw_starts(extent: tuple[int, ...], draws: int, places: int, generator: Generator) -> Tensor:
    """(G, 1, A) corners of windows of this extent below `places`. Every corner that lies outside the extent,
    on one axis at least, is as likely as any other."""
    room = [places - size + 1 for size in extent]
    beyond = [count - size for count, size in zip(room, extent, strict=True)]
    # By the first axis on which a corner lies outside: inside on those before it, anywhere on those after.
    corners = [
        math.prod(extent[:axis]) * beyond[axis] * math.prod(room[axis + 1 :]) for axis in range(len(extent))
    ]
    weights = torch.tensor(corners, dtype=torch.float64)
    first = torch.multinomial(weights, draws, replacement=True, generator=generator)
    starts = []
    for axis, size in enumerate(extent):
        inside, outside, anywhere = (
            torch.randint(count, (draws,), generator=generator) for count in (size, beyond[axis], room[axis])
        )
        drawn = torch.where(first.gt(axis), inside, anywhere)
        starts.append(torch.where(first.eq(axis), size + outside, drawn))
    return torch.stack(starts, dim=-1)[:, None]


def _uniform(pivots: Tensor, count: int, places: int, generator: Generator) -> Tensor:
    """Any positions but the pivot."""
    axes = pivots.shape[-1]
    flat = torch.randint(places**axes - 1, (len(pivots), count), generator=generator)
    powers = places ** torch.arange(axes - 1, -1, -1)
    flat += flat >= (pivots * powers).sum(-1, keepdim=True)
    return _cells(flat, (places,) * axes)


def _local(pivots: Tensor, mix: Mix, places: int, generator: Generator) -> Tensor:
    """Distinct positions of one random window for each pivot."""
    axes = pivots.shape[-1]
    side = mix.side(places, axes)
    corners = torch.randint(places - side + 1, (len(pivots), 1, axes), generator=generator)
    numbers = torch.rand(len(pivots), side**axes, generator=generator)
    found = corners + _cells(numbers.topk(mix.size + 1, sorted=False).indices, (side,) * axes)
    is_pivot = (found == pivots[:, None]).all(-1)
    rest = is_pivot.int().argsort(dim=-1, stable=True)[:, : mix.size]
    return found.gather(1, rest[..., None].expand(-1, -1, axes))


def _hard(
    pivots: Tensor, uniform: Tensor, count: int, places: int, base: int, digits: int, generator: Generator
) -> Tensor:
    """Uniform candidates, the last `count` of which give way to positions whose digits are nearly the
    pivot's, where these are farther off than the nearest uniform candidate, so that the label stays what it
    was."""
    string = to_digits(pivots, base, digits)[:, None].expand(-1, count, -1)
    edits = torch.randint(1, EDITS + 1, (len(pivots), count), generator=generator)
    for number in range(EDITS):
        edited = _edit(string, base, generator)
        string = torch.where((number < edits)[..., None], edited, string)
    found = from_digits(string, base, digits)
    distance = (found - pivots[:, None]).square().sum(-1)
    bound = (uniform[:, :-count] - pivots[:, None]).square().sum(-1).amin(-1, keepdim=True)
    kept = (found < places).all(-1) & (distance > bound)
    hard = torch.where(kept[..., None], found, uniform[:, -count:])
    return torch.cat((uniform[:, :-count], hard), dim=1)


def _edit(string: Tensor, base: int, generator: Generator) -> Tensor:
    """One random edit of each (U, C, S) string: a digit inserted, deleted, swapped with another or replaced,
    the length staying the same."""
    length = string.shape[-1]
    shape = string.shape[:-1]
    place = torch.randint(length, (*shape, 1), generator=generator)
    digit = torch.randint(base, (*shape, 1), generator=generator)
    kind = torch.randint(4, (*shape, 1), generator=generator)
    at = torch.arange(length).expand(*shape, length)
    to_left, to_right = string.roll(-1, -1), F.pad(string, (1, 0))[..., :-1]
    replaced = torch.where(at == place, digit, string)
    # A digit that comes in pushes those before it to the left, over the padding; one that goes draws them
    # back.
    inserted = torch.where(at < place, to_left, replaced)
    deleted = torch.where(at <= place, to_right, string)
    other = (place + torch.randint(1, max(length, 2), (*shape, 1), generator=generator)) % length
    swapped = torch.where(at == place, string.gather(-1, other), string)
    swapped = torch.where(at == other, string.gather(-1, place), swapped)
    return torch.where(
        kind == 0, inserted, torch.where(kind == 1, deleted, torch.where(kind == 2, swapped, replaced))
    )


def _cells(flat: Tensor, extent: tuple[int, ...]) -> Tensor:
    """(…, A) coordinates of row-major cell numbers."""
    return torch.stack(torch.unravel_index(flat, extent), dim=-1)
