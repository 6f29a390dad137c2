"""Sums of gradients over the ranks, sent while the rest of the model is still gone back through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pebench.running.ranks import Ranks, Sum

BUCKET_BYTES = 32 << 20
"""Of gradients in one message: large enough for the speed of the connection, small enough that the last one,
which nothing overlaps, is short."""


class GradientBuckets:
    """The gradients of a model in a few flat tensors, each of which is summed over the ranks as a whole.

    Which gradient lies where, and the order of the messages, follow from the order of the parameters alone:
    they are the same on every rank, in every step and after a resumption, and so are the bits of the sums.
    """

    def __init__(self, model: nn.Module, encoding: nn.Module, ranks: Ranks) -> None:
        """
        Args:
            model: all parameters. encoding: whose gradients are there last, since it is gone back through once
                for all parts of a batch.
            ranks: that sum.
        """
        self.ranks = ranks
        own = {id(parameter) for parameter in encoding.parameters()}
        trained = [p for p in model.parameters() if p.requires_grad] if ranks.count > 1 else []
        # Gradients come in about the reverse of the order in which parameters are used.
        early = _buckets([p for p in reversed(trained) if id(p) not in own])
        late = _buckets([p for p in reversed(trained) if id(p) in own])
        self._buckets = [*early, *late]
        self._number = {id(p): number for number, bucket in enumerate(early) for p in bucket.parameters}
        self._sums: list[Sum] = []
        self._missing: list[int] | None = None
        for parameter in trained:
            if id(parameter) in self._number:
                parameter.register_post_accumulate_grad_hook(self._accumulated)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """For the last backward pass through the model, in which its gradients become what they are to be: a
        bucket is sent when it is full."""
        self._missing = [len(bucket.parameters) for bucket in self._buckets]
        try:
            yield
        finally:
            self._missing = None

    def sum(self, further: Iterable[Tensor] = ()) -> None:
        """Sums all gradients, and some further tensors in place, once all of them are there.

        Raises:
            RankLost: another rank is gone.
        """
        while len(self._sums) < len(self._buckets):
            self._send()
        self._sums += [self.ranks.begin_sum(tensor) for tensor in further]
        for pending in self._sums:
            pending.wait()
        self._sums = []
        for bucket in self._buckets:
            bucket.give()

    def _accumulated(self, parameter: Tensor) -> None:
        if self._missing is None:
            return
        self._missing[self._number[id(parameter)]] -= 1
        while len(self._sums) < len(self._buckets) and self._missing[len(self._sums)] == 0:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[len(self._sums)]
        bucket.take()
        self._sums.append(self.ranks.begin_sum(bucket.flat))


class _Bucket:
    """Some parameters, and one tensor for the gradients of all of them.

    Attributes:
        parameters: of one dtype and device. flat: their gradients one after another.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.flat = torch.zeros(
            sum(p.numel() for p in parameters), dtype=parameters[0].dtype, device=parameters[0].device
        )
        parts = self.flat.split([p.numel() for p in parameters])
        self._views = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]

    @torch.no_grad()
    def take(self) -> None:
        """Copies the gradients; zeros stand for one that is not there."""
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        torch.cat([gradient.flatten() for gradient in gradients], out=self.flat)

    def give(self) -> None:
        """Makes the gradients that were there parts of the flat tensor, without a copy."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            if parameter.grad is not None:
                parameter.grad = view


def _buckets(parameters: Sequence[nn.Parameter]) -> list[_Bucket]:
    """Neighbours of one dtype, up to `BUCKET_BYTES`; a larger parameter has a bucket of its own."""
    found: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        added = parameter.numel() * parameter.element_size()
        if not found or size + added > BUCKET_BYTES or parameter.dtype != found[-1][0].dtype:
            found.append([])
            size = 0
        found[-1].append(parameter)
        size += added
    return [_Bucket(each) for each in found]
