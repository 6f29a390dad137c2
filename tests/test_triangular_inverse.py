"""Inverses of triangular matrices whose diagonal is one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pebench.formulas.triangular_inverse import unit_lower_inverse


def _solved(lower: Tensor) -> Tensor:
    one = torch.eye(lower.shape[-1], dtype=lower.dtype).expand_as(lower)
    solved: Tensor = torch.linalg.solve_triangular(lower, one, upper=False, unitriangular=True)
    return solved


@given(rows=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_it_is_what_a_triangular_system_has_for_solution(rows: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    # Diagonal and upper half are numbers too, which must not matter.
    lower = torch.rand(2, rows, rows, dtype=torch.float64, generator=draws) - 0.5
    torch.testing.assert_close(unit_lower_inverse(lower), _solved(lower), rtol=1e-9, atol=1e-9)


def test_gradients() -> None:
    lower = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_lower_inverse, lower)


@pytest.mark.parametrize("alike", [0.0, 0.9, 1.0])
def test_reflections_of_directions_that_are_alike_lose_few_digits_in_float32(alike: float) -> None:
    """The powers of this matrix have entries beyond 10²⁰, its inverse none above 2."""
    draws = torch.Generator().manual_seed(0)
    directions = alike + (1 - alike) * torch.randn(8, 64, 64, generator=draws)
    directions = F.normalize(directions, dim=-1)
    lower = (2 * directions @ directions.mT).tril(-1)
    torch.testing.assert_close(unit_lower_inverse(lower).double(), _solved(lower.double()), rtol=0, atol=1e-4)
