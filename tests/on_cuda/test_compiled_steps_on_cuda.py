"""A compiled step in bfloat16 goes where an uncompiled one does, with every encoding of one axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from references.compiled_steps import ENCODINGS, WIDTH, compare_with_uncompiled

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("parts_from", [WIDTH, WIDTH + 1], ids=["by-blocks", "as-one-graph"])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_gradients_are_as_exact_as_uncompiled(
    place: Path, monkeypatch: pytest.MonkeyPatch, encoding: Any, parts_from: int
) -> None:
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", parts_from)
    compare_with_uncompiled(place, encoding, 2, 1024, "cuda")
