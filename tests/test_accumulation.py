"""Running sums are those of PyTorch, from call to call and compiled or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pebench.formulas.accumulation import BLOCK, accumulate


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_compiled_sums_and_their_gradients_are_those_of_pytorch(length: int) -> None:
    new = torch.randn(2, 3, length, requires_grad=True)
    weights = torch.randn(2, 3, length, dtype=torch.float64)

    def sums(new: Tensor) -> Tensor:
        return accumulate(new, {})

    found = torch.compile(sums, backend="eager", fullgraph=True)(new)
    wanted = new.double().cumsum(-1)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(accumulate(new, {}), wanted)
    gradients = [torch.autograd.grad((part * weights).sum(), new)[0] for part in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_sums_go_on_where_the_last_call_ended() -> None:
    new = torch.randn(1, 2, 10)
    carry: dict[str, Tensor] = {}
    for part in new.split(4, dim=-1):
        found = accumulate(part, carry)
    torch.testing.assert_close(found, new.double().cumsum(-1))
