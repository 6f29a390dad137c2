"""The batch of a step as a function of the seed, the split and the step, made ahead of time by processes."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pebench.data.images.mixing import NOT_MIXED, Mixing
from pebench.data.images.pictures import BadImages, Item, Pictures
from pebench.data.images.transforms import Changed, Transform, drawing
from pebench.errors import UserError
from pebench.machine.cores import FOR_PICTURES, MOST_FOR_PICTURES, cores

AHEAD = 3
"""Batches that each process has ready or in the making."""

Batch = dict[str, Tensor]


class Made(NamedTuple):
    """Batch that a process hands over.

    Attributes:
        batch: of the pictures that could be read, empty if none could.
        unreadable: what the others are called.
    """

    batch: Batch
    unreadable: list[str]


class Order(NamedTuple):
    """Order from which a process makes a batch.

    Attributes:
        names: spell out the random numbers of the batch, None where none are drawn.
        items: of the source.
    """

    names: tuple[int, str, int] | None
    items: list[Item]


@dataclass(frozen=True)
class Recipe:
    """How the pictures of a batch become tensors.

    Attributes:
        pictures: the source. transform: of them. random: whether it draws random numbers.
        mixing: of the batch. classes: there are. smoothing: of mixed targets.
        bad_images: what becomes of pictures that turn out only now to be unreadable, as streamed ones do. In
            training others of the batch stand in for them.
        kept: quick pictures that come out the same each time, as they do.
    """

    pictures: Pictures
    transform: Transform
    random: bool = False
    mixing: Mixing = NOT_MIXED
    classes: int = 0
    smoothing: float = 0.0
    bad_images: BadImages = "refuse"
    kept: dict[Item, tuple[Changed, int]] = field(default_factory=dict, repr=False, compare=False)

    def make(self, order: Order) -> Made:
        """``images`` (B, 3, rows, columns), ``labels`` (B,), and ``targets`` (B, classes) where they are
        mixed."""
        training = order.names is not None
        opened: list[tuple[Changed, int]] = []
        unreadable = []
        with drawing() as draw:
            for place, item in enumerate(order.items):
                if order.names is not None:
                    draw(order.names[0], "augmentation", *order.names[1:], place)
                found = self._opened(item, anew=training and self.random)
                if found is None:
                    unreadable.append(self.pictures.called(item))
                else:
                    opened.append(found)
            if training and opened:
                opened = list(itertools.islice(itertools.cycle(opened), len(order.items)))
            if not opened:
                return Made({}, unreadable)
            images = self.transform.batch([changed for changed, _ in opened])
            labels = torch.tensor([label for _, label in opened])
            if order.names is None or not self.mixing.mixes:
                return Made({"images": images, "labels": labels}, unreadable)
            draw(order.names[0], "mixing", *order.names[1:])
            images, targets = self.mixing.mixed(images, labels, self.classes, self.smoothing)
        return Made({"images": images, "labels": labels, "targets": targets}, unreadable)

    def _opened(self, item: Item, anew: bool) -> tuple[Changed, int] | None:
        """A picture after its own changes, and its class; `anew` where it comes out different each time."""
        lasting = self.pictures.quick and not anew
        if lasting and item in self.kept:
            return self.kept[item]
        loaded = self.pictures.attempt(item)
        if loaded is None:
            return None
        found = self.transform.change(loaded[0]), loaded[1]
        if lasting:
            self.kept[item] = found
        return found


class _Batches(Dataset[Made]):
    """Orders of batches, in which the loader's processes look them up."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __getitem__(self, order: Any) -> Made:
        return self.recipe.make(order)


class TrainingBatches:
    """The batches of training, asked for step after step.

    Any other step can be asked for as well, and then those after it are made ahead.
    """

    def __init__(self, recipe: Recipe, repeats: int = 1) -> None:
        """
        Args:
            recipe: of a batch. repeats: how often each picture stands in a batch, augmented anew each time
                (Hoffer et al. 2020).
        """
        self.recipe, self.repeats = recipe, repeats
        self._next: tuple[int, str, int, int] | None = None
        self._ahead: Iterator[Batch] = iter(())

    def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
        """The batch of a step."""
        if self._next != (seed, split, step, size):
            # What was in the making for other steps is let go first.
            self._ahead = iter(())
            self._ahead = _made(self.recipe, self._orders(seed, split, step, size), workers())
        batch = next(self._ahead)
        if not batch:
            raise UserError(f"of the {size} pictures of step {step} none can be read.")
        self._next = (seed, split, step + 1, size)
        return batch

    def _orders(self, seed: int, split: str, step: int, size: int) -> Iterator[Order]:
        distinct = -(-size // self.repeats)
        items = self.recipe.pictures.training(seed, ("images", split), step * distinct)
        for number in itertools.count(step):
            chosen = list(itertools.islice(items, distinct))
            repeated = [item for item in chosen for _ in range(self.repeats)][:size]
            yield Order((seed, split, number), repeated)


def evaluation_batches(recipe: Recipe, size: int, pictures: Iterable[Item]) -> Iterator[Batch]:
    """Pictures of a split in order, as they are.

    Args:
        recipe: of a batch.
        size: pictures a batch.
        pictures: which.
    """
    items = iter(pictures)
    orders = (Order(None, chunk) for chunk in iter(lambda: list(itertools.islice(items, size)), []))
    # No more processes than there are batches for.
    first = list(itertools.islice(orders, workers()))
    return filter(None, _made(recipe, itertools.chain(first, orders), len(first)))


def workers() -> int:
    """How many processes make batches: the variable ``PEBENCH_WORKERS``, by default one less than the
    cores that this process may use, at most 16."""
    chosen = os.environ.get(FOR_PICTURES, "")
    return int(chosen) if chosen.isdigit() else min(MOST_FOR_PICTURES, cores() - 1)


def _made(recipe: Recipe, orders: Iterator[Order], processes: int) -> Iterator[Batch]:
    count = 0
    for batch, unreadable in _handed_over(recipe, orders, processes):
        if unreadable and recipe.bad_images == "refuse":
            raise UserError(f"{unreadable[0]} cannot be read; 'bad_images: skip' passes over such pictures.")
        count += len(unreadable)
        if unreadable:
            logging.getLogger("pebench.data").warning(
                "%s cannot be read and is passed over, as were %d before it.", unreadable[-1], count - 1
            )
        yield batch


def _handed_over(recipe: Recipe, orders: Iterator[Order], processes: int) -> Iterator[Made]:
    if recipe.pictures.quick or not processes:
        return map(recipe.make, orders)
    loader = DataLoader(
        _Batches(recipe),
        batch_size=None,
        sampler=orders,
        num_workers=processes,
        prefetch_factor=AHEAD,
        # By default it would draw a number from the global state.
        generator=torch.Generator(),
    )
    return iter(loader)
