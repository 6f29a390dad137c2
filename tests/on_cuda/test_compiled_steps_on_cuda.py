"""A compiled step in bfloat16 goes where an uncompiled one does, with every encoding of one axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compiled_steps import ENCODINGS, compare_with_uncompiled

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    # The compiler says where it could do better: by rounding the factors of float32 products, which is for
    # the precision of a run to say, or without complex numbers.
    pytest.mark.filterwarnings(r"ignore::UserWarning:torch\._inductor"),
    pytest.mark.filterwarnings(r"ignore::FutureWarning:torch\._inductor"),
    # It looks at the gradients of all that a bias has captured, and is warned of those in between.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_gradients_are_as_exact_as_uncompiled(place: Path, encoding: Any) -> None:
    compare_with_uncompiled(place, encoding, 2, 1024, "cuda")
