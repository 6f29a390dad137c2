"""Training: the same loop for every encoding and every task, each step a function of the seed and its
number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from pebench.machine.to_device import send
from pebench.position_encoding import PositionEncoding, StepRNG, Table, tabulate
from pebench.randomness import derive, seed_device
from pebench.running.checkpoint import State
from pebench.running.compilation import begin_step, compile_whole
from pebench.running.gradient_buckets import GradientBuckets
from pebench.running.optimisation import Clipping, set_rates
from pebench.running.positions import training_positions
from pebench.running.ranks import ALONE, Ranks
from pebench.specification.run_spec import Training
from pebench.task import AnyTask, Batch, CompiledInParts

Loss = Callable[[nn.Module, Batch, Table], Tensor]
"""`Task.loss`, compiled or not."""


@dataclass(frozen=True)
class Progress:
    """Progress after an update.

    Attributes:
        state: where training stands.
        losses: scalar tensors by name, on the device: ``loss`` is the task's, the others the encoding's own.
        gradient_norm: of all parameters, before clipping.
    """

    state: State
    losses: dict[str, Tensor]
    gradient_norm: Tensor


def train(
    model: nn.Module,
    task: AnyTask,
    optimiser: torch.optim.Optimizer,
    training: Training,
    seed: int,
    state: State,
    device: torch.device,
    wanted: Callable[[int], bool],
    compiled: bool = False,
    ranks: Ranks = ALONE,
) -> Iterator[Progress]:
    """Updates the model until the budget is spent or the loss stops being a number.

    Args:
        model: a `PositionedModel` on the device. task: gives batches and the loss.
        optimiser: of the model's parameters. training: the budget. seed: of data and noise.
        state: where to go on from.
        device: where the model is.
        wanted: whether the caller will look at the progress after that many updates. Elsewhere the device is
            not waited for, and a loss that stopped being a number is noticed at the next look.
        compiled: whether the model and its loss go through `torch.compile`: as one graph, or in the parts
            that the model names.
        ranks: the processes that share each batch; all of them are to call this.

    Yields:
        The progress after each update.
    """
    update = _Update(model, task, optimiser, training, seed, device, compiled, ranks)
    model.train()
    never = torch.full((), training.steps + 1, device=device)
    bad_step = never.clone()
    clock, marked = None, state.items
    met: set[int] = set()
    while state.step < training.steps and state.diverged_at is None:
        step, batch = state.step, task.batch(seed, "train", state.step, training.batch)
        positions = update.positions(step, batch)
        # A step with another number of groups is compiled anew, which is no part of the training's speed.
        compiling = compiled and clock is not None and len(positions) not in met
        met.add(len(positions))
        begun = _now(device) if compiling else 0.0
        losses, norm = update(step, batch, positions)
        if compiling and clock is not None:
            clock, marked = clock + _now(device) - begun, marked + task.items(batch)
        finite = torch.isfinite(norm) & torch.isfinite(losses["loss"])
        bad_step = torch.where(finite, bad_step, bad_step.clamp(max=step + 1))
        change: dict[str, Any] = {"step": step + 1, "items": state.items + task.items(batch)}
        if wanted(step + 1) or step + 1 == training.steps or clock is None:
            now = _now(device)
            if clock is not None:
                change["seconds"] = state.seconds + now - clock
                change["timed_items"] = state.timed_items + change["items"] - marked
            if step + 1 == training.steps:
                # No later update would notice what the last one did to the weights.
                finite = update.has_loss(batch, positions)
                bad_step = torch.where(finite, bad_step, bad_step.clamp(max=step + 1))
            change["diverged_at"] = int(bad_step) if int(bad_step) < int(never) else None
            clock, marked = now, change["items"]
        state = state.model_copy(update=change)
        before = time.perf_counter()
        yield Progress(state, losses, norm)
        clock += time.perf_counter() - before


class _Update:
    """One update after another: gradients of a batch, in parts, and a step of the optimiser."""

    def __init__(
        self,
        model: nn.Module,
        task: AnyTask,
        optimiser: torch.optim.Optimizer,
        training: Training,
        seed: int,
        device: torch.device,
        compiled: bool,
        ranks: Ranks,
    ) -> None:
        self.model, self.task, self.optimiser, self.training = model, task, optimiser, training
        self.encoding: PositionEncoding = model.encoding  # type: ignore[assignment]
        self.seed, self.device, self.ranks = seed, device, ranks
        self.loss_of: Loss = task.loss
        # Importing what replays them takes a run that replays none seconds.
        self.replays = compiled and device.type == "cuda"
        if compiled:
            compiler = partial(compile_whole, graphs=self.replays)
            if isinstance(model, CompiledInParts):
                self.loss_of = model.compiled_for_training(task.loss, compiler)
            else:
                self.loss_of = compiler(task.loss)
            self.encoding.compile_training(compiler)
        self.compiled = compiled
        self.half = training.precision == "bfloat16"
        self.extent = task.geometry().extent
        self.served = self.encoding.trained_with
        self.buckets = GradientBuckets(model, self.encoding, ranks)
        self.clip = Clipping(model, self.encoding, training)

    def positions(self, step: int, batch: Batch) -> Tensor:
        """(1|G, N, A) where a batch stands."""
        draw = StepRNG(self.seed, step)
        return training_positions(self.training, self.encoding, self.extent, _examples(batch), draw)

    def __call__(self, step: int, batch: Batch, positions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the norm of the gradient before it was clipped."""
        if self.replays:
            begin_step()
        draw = StepRNG(self.seed, step)
        with _encoding_products(self.encoding, self.training):
            seed_noise("encoding", self.seed, step, self.ranks, self.device)
            table = tabulate(self.encoding, positions, self.served, self.device, draw, self.half)
            shared, leaves, copies = _cut(table)
            seed_noise("dropout", self.seed, step, self.ranks, self.device)
            total = self._gradients(batch, shared, len(positions))
            seed_noise("objectives", self.seed, step, self.ranks, self.device)
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.half and self.encoding.autocast
            ):
                auxiliary = self.encoding.auxiliary_losses(positions, table, draw)
            _finish_backward(leaves, copies, auxiliary, self.ranks.count)
        self.buckets.sum([total])
        norm = self.clip()
        set_rates(self.optimiser, self.training, step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {"loss": total} | {name: value.detach() for name, value in auxiliary.items()}, norm.detach()

    def has_loss(self, batch: Batch, positions: Tensor) -> Tensor:
        """Whether the weights as they are now give a finite loss, of one example on each rank."""
        one = {name: send(value[:1], self.device) for name, value in self.ranks.share(batch).items()}
        self.model.eval()
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            table = tabulate(self.encoding, positions[:1], self.served, self.device, half=self.half)
            loss = self.task.loss(self.model, one, table)
        self.model.train()
        self.ranks.begin_sum(loss).wait()
        return torch.isfinite(loss)

    def _gradients(self, batch: Batch, table: Table, groups: int) -> Tensor:
        """The loss of this rank's part of a batch, gone back from as far as the table."""
        total = torch.zeros((), device=self.device)
        # Of all ranks' examples, so that sums over the ranks are means over the batch, masked targets or not.
        weight = self.task.weight(batch)
        if groups > 1:
            batch = batch | {_GROUP: torch.arange(_examples(batch)) % groups}
        parts = list(_parts(self.ranks.share(batch), self.training.accumulate))
        for number, part in enumerate(parts, 1):
            on_device = {name: send(value, self.device) for name, value in part.items()}
            own = table if groups == 1 else _rows(table, on_device.pop(_GROUP), groups)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                loss = self.loss_of(self.model, on_device, own) / weight
            with self.buckets.filling() if number == len(parts) else nullcontext():
                loss.backward()
            total += loss.detach()
        return total


def seed_noise(
    purpose: Literal["encoding", "dropout", "objectives"],
    seed: int,
    step: int,
    ranks: Ranks,
    device: torch.device,
) -> None:
    """Puts PyTorch's generators into a state of its own for each thing that a step draws for: what a model
    drops is then the same around every encoding. It differs between ranks, whose examples differ; what the
    encoding drops must be the same on all of them."""
    own = [ranks.index] if purpose == "dropout" and ranks.count > 1 else []
    seed_device(derive(seed, purpose, step, *own), device)


_GROUP = "the group of positions"
"""Beside what a task puts into a batch."""


def _examples(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _rows(table: Table, numbers: Tensor, groups: int) -> Table:
    """The table of some examples, of which each belongs to a group. What is the same for all groups stays as
    it is, so that a step has two forms, whatever the number of groups and parts: with a table for all
    examples, and with one for each."""
    tensors, shape = tree_flatten(table)
    chosen = [
        each.index_select(0, numbers)
        if isinstance(each, Tensor) and each.ndim and len(each) == groups
        else each
        for each in tensors
    ]
    return tree_unflatten(chosen, shape)


@contextmanager
def _encoding_products(encoding: PositionEncoding, training: Training) -> Iterator[None]:
    """Lets CUDA round the factors of products of float32 matrices to 10 bits, where the encoding allows that
    and the rest of the model is computed in 7."""
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = before or (encoding.tf32 and training.precision == "bfloat16")
    try:
        yield
    finally:
        products.allow_tf32 = before


def _cut(table: Table) -> tuple[Table, list[Tensor], list[Tensor]]:
    """The table with its tensors cut off from what made them, so that however many parts a batch has, the
    encoding
    is gone back through once: the cut ones, and their copies that gather the gradients."""
    tensors, shape = tree_flatten(table)
    leaves = [tensor for tensor in tensors if isinstance(tensor, Tensor) and tensor.requires_grad]
    copies = {id(leaf): leaf.detach().requires_grad_() for leaf in leaves}
    shared = tree_unflatten([copies.get(id(tensor), tensor) for tensor in tensors], shape)
    return shared, leaves, [copies[id(leaf)] for leaf in leaves]


def _finish_backward(
    leaves: list[Tensor], copies: list[Tensor], auxiliary: dict[str, Tensor], ranks: int
) -> None:
    """Goes back through the encoding. Every rank computes the same auxiliary losses, so each counts for a
    share of them."""
    reached = {id(c): (leaf, c.grad) for leaf, c in zip(leaves, copies, strict=True) if c.grad is not None}
    roots = [leaf for leaf, _ in reached.values()] + list(auxiliary.values())
    shares = [torch.full_like(value, 1 / ranks) for value in auxiliary.values()]
    gradients = [gradient for _, gradient in reached.values()] + shares
    if roots:
        torch.autograd.backward(roots, gradients)


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    chunks = {name: value.chunk(count) for name, value in batch.items()}
    for number in range(min(len(values) for values in chunks.values())):
        yield {name: values[number] for name, values in chunks.items()}


def _now(device: torch.device) -> float:
    """The time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
