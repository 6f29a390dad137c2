"""Where kernels in Triton can be tested without a GPU: in Triton's interpreter."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

QUIET = [
    # NumPy's, in Triton's interpreter: of rows that are not kept, and of numbers as arrays of one.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning"),
]
"""Marks of a module of tests that run there."""


def _can_interpret() -> bool:
    """Whether Triton is here, and takes arrays of one number for numbers, as NumPy did before 2.4."""
    before = tuple(int(part) for part in np.__version__.split(".")[:2]) < (2, 4)
    return before and importlib.util.find_spec("triton") is not None


interpretable = pytest.mark.skipif(
    not _can_interpret() or torch.cuda.is_available(),
    reason="Triton's interpreter does not run here, or there is a GPU, on which the kernels are compiled",
)
