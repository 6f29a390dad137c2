"""Training: the same loop for every encoding and every task, each step a function of the seed and its
number."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from pebench.position_encoding import Draw, PositionEncoding, Reach, Table, tabulate
from pebench.randomness import derive, seed_device
from pebench.running.checkpoint import State
from pebench.running.compilation import compile_whole
from pebench.running.optimisation import learning_rate
from pebench.running.positions import training_positions
from pebench.running.ranks import ALONE, Ranks
from pebench.spec import Training
from pebench.task import AnyTask, Batch
from pebench.transfer import send

Loss = Callable[[nn.Module, Batch, Table], Tensor]
"""`Task.loss`, compiled or not."""


@dataclass(frozen=True)
class Progress:
    """What is known after an update.

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
        compiled: whether the model and its loss go through `torch.compile`, as one graph.
        ranks: the processes that share each batch; all of them are to call this.

    Yields:
        The progress after each update.
    """
    encoding: PositionEncoding = model.encoding  # type: ignore[assignment]
    model.train()
    loss_of: Loss = compile_whole(task.loss) if compiled else task.loss
    never = torch.full((), training.steps + 1, device=device)
    bad_step = never.clone()
    # A walk through all modules costs the host as much as a layer does, and finds the same each time.
    parameters = list(model.parameters())
    clock, marked = None, state.items
    while state.step < training.steps and state.diverged_at is None:
        step, batch = state.step, task.batch(seed, "train", state.step, training.batch)
        with _encoding_products(encoding, training):
            losses, norm = _update(
                model,
                parameters,
                encoding,
                task,
                loss_of,
                optimiser,
                training,
                batch,
                Draw(seed, step),
                device,
                ranks,
            )
        finite = torch.isfinite(norm) & torch.isfinite(losses["loss"])
        bad_step = torch.where(finite, bad_step, bad_step.clamp(max=step + 1))
        change: dict[str, Any] = {"step": step + 1, "items": state.items + task.items(batch)}
        if wanted(step + 1) or step + 1 == training.steps or clock is None:
            _wait(device)
            now = time.perf_counter()
            if clock is not None:
                change["seconds"] = state.seconds + now - clock
                change["timed_items"] = state.timed_items + change["items"] - marked
            change["diverged_at"] = int(bad_step) if int(bad_step) < int(never) else None
            clock, marked = now, change["items"]
        state = state.model_copy(update=change)
        before = time.perf_counter()
        yield Progress(state, losses, norm)
        clock += time.perf_counter() - before


def _update(
    model: nn.Module,
    parameters: list[nn.Parameter],
    encoding: PositionEncoding,
    task: AnyTask,
    loss_of: Loss,
    optimiser: torch.optim.Optimizer,
    training: Training,
    batch: Batch,
    draw: Draw,
    device: torch.device,
    ranks: Ranks,
) -> tuple[dict[str, Tensor], Tensor]:
    seed_device(derive(draw.seed, "dropout", draw.step), device)
    positions = training_positions(training, encoding, task.geometry().extent, draw)
    reach = Reach(encoding.geometry.extent, encoding.extrapolations[0])
    table = tabulate(encoding, positions, reach, device)
    shared, leaves, copies = _cut(table)
    total = torch.zeros((), device=device)
    # Of all ranks' examples, so that sums over the ranks are means over the batch, masked targets or not.
    weight = task.weight(batch)
    with _own_dropout(ranks, draw, device):
        for part in _parts(ranks.share(batch), training.accumulate):
            on_device = {name: send(value, device) for name, value in part.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
                loss = loss_of(model, on_device, shared) / weight
            loss.backward()
            total += loss.detach()
    auxiliary = encoding.auxiliary_losses(positions, table, draw)
    _finish_backward(leaves, copies, auxiliary, ranks.count)
    ranks.all_reduce([total, *(p.grad for p in parameters if p.grad is not None)])
    norm = torch.nn.utils.clip_grad_norm_(parameters, training.clip or float("inf"))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(training, draw.step)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {"loss": total} | {name: value.detach() for name, value in auxiliary.items()}, norm.detach()


@contextmanager
def _own_dropout(ranks: Ranks, draw: Draw, device: torch.device) -> Iterator[None]:
    """Lets each rank drop other channels of its examples, and gives back the random state that all ranks have
    in common: what an encoding drops must be the same everywhere."""
    if ranks.count == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_device(derive(draw.seed, "dropout", draw.step, ranks.index), device)
        yield


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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
