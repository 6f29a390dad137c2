"""What all tests on CUDA share: warnings of PyTorch's compiler, which are no fault of what it compiles."""

from __future__ import annotations

from pathlib import Path

import pytest

IGNORED = [
    # It uses what PyTorch has deprecated.
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
    # It looks at the gradients of all that a bias has captured, and is warned of those in between.
    "ignore:The .grad attribute of a Tensor that is not a leaf",
    # It says where it could do better: by rounding the factors of float32 products, which is for the
    # precision of a run to say, or without complex numbers.
    "ignore:TensorFloat32 tensor cores for float32 matrix multiplication available:UserWarning",
    r"ignore::UserWarning:torch\._inductor",
    r"ignore::FutureWarning:torch\._inductor",
    # It records an empty graph first, to have a pool of memory for all that come after.
    "ignore:The CUDA Graph is empty:UserWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves them out of what is an error."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            for ignored in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(ignored))
