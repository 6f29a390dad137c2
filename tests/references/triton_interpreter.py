"""Where kernels in Triton can be tested without a GPU: in Triton's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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


@contextmanager
def interpreting(module: str, sizes: Mapping[str, tuple[int, int]], side: int) -> Iterator[None]:
    """Triton's interpreter, which has to be asked for before the kernels are read, and small tiles: it takes
    as long for each as for a large one, and short texts consist of several. New memory is filled with NaN, so
    that nothing is read that was not written.

    Args:
        module: of `pebench.attention` that launches the kernels.
        sizes: queries and keys of a tile, by kernel.
        side: that the sides of all tiles divide.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        from pebench.attention import tiles

        patch.setattr(tiles, "ROUND", side)
        launching = importlib.import_module(f"pebench.attention.{module}")
        for table in (value for name, value in vars(launching).items() if name.endswith("TILES")):
            for kernel in table:
                patch.setitem(table, kernel, tiles.Tile(*sizes[kernel], warps=4, stages=1))
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)
