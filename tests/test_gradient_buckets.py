"""Gradients leave in buckets while the rest is gone back through, and are the same in every bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pebench.running import gradient_buckets
from pebench.running.gradient_buckets import GradientBuckets
from pebench.running.ranks import Ranks, Sum

WIDTH = 16
LAYER = 4 * WIDTH * WIDTH
"""Bytes of the weights of a layer."""


class Doubling(Ranks):
    """Two ranks of which the other has the same gradients; it notes when a sum begins."""

    count = 2

    def __init__(self) -> None:
        self.begun: list[int] = []

    def begin_sum(self, tensor: Tensor) -> Sum:
        self.begun.append(tensor.numel())

        class Doubled(Sum):
            def wait(self) -> None:
                tensor.mul_(2)

        return Doubled()


class Model(nn.Module):
    """Layers one after another, one that nothing uses, and an encoding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(6))
        self.unused = nn.Linear(WIDTH, WIDTH, bias=False)
        self.encoding = nn.Linear(WIDTH, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.encoding(x)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def loss(model: Model, x: Tensor) -> Tensor:
    output: Tensor = model(x)
    return output.square().mean()


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_buckets, "BUCKET_BYTES", 2 * LAYER)


@pytest.mark.parametrize("parts", [1, 3])
def test_sums_are_those_of_the_gradients_and_what_had_none_has_none(parts: int) -> None:
    model, ranks = Model(), Doubling()
    x = torch.randn(6, WIDTH)
    for part in x.chunk(parts):
        loss(model, part).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    buckets = GradientBuckets(model, model.encoding, ranks)
    for _ in range(2):
        for number, part in enumerate(x.chunk(parts), 1):
            if number < parts:
                loss(model, part).backward()
                assert not ranks.begun
            else:
                with buckets.filling():
                    loss(model, part).backward()
        total = torch.ones(())
        buckets.sum([total])
        assert float(total) == 2
        for name, parameter in model.named_parameters():
            gradient = expected[name]
            assert (parameter.grad is None) == (gradient is None)
            if gradient is not None:
                assert torch.equal(parameter.grad, 2 * gradient)  # type: ignore[arg-type]
        model.zero_grad(set_to_none=True)
        ranks.begun.clear()


def test_a_bucket_leaves_before_the_rest_is_gone_back_through() -> None:
    model, ranks = Model(), Doubling()
    del model.unused
    buckets = GradientBuckets(model, model.encoding, ranks)
    hidden: list[Tensor] = []
    model.layers[2].register_forward_hook(lambda layer, given, result: hidden.append(result))
    value = loss(model, torch.randn(6, WIDTH))
    begun: list[int] = []
    hidden[0].register_hook(lambda gradient: begun.append(len(ranks.begun)))
    with buckets.filling():
        value.backward()
    assert begun == [1], "of the three layers behind it two fill a bucket"
    assert len(ranks.begun) == 3
    buckets.sum()
    assert ranks.begun == [2 * WIDTH * WIDTH] * 3 + [WIDTH]


def test_one_rank_has_no_buckets() -> None:
    model = Model()
    buckets = GradientBuckets(model, model.encoding, Ranks())
    with buckets.filling():
        loss(model, torch.randn(6, WIDTH)).backward()
    before = [p.grad for p in model.parameters()]
    buckets.sum([torch.ones(())])
    assert all(one is other for one, other in zip(before, (p.grad for p in model.parameters()), strict=True))
